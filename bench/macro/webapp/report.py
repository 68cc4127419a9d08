"""What came of the runs: figures, a table, and plots."""
import html

COLOURS = {"demand": "#999999", "cap": "#0072b2", "used": "#d55e00", "bad": "#cc79a7"}
WINDOW_SECONDS = 5
ERROR_SHARE = 0.01


def quantile(values, share):
    """Nearest rank; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 1).__int__() - 1))]


def windows(outcomes, first, seconds, threshold, share):
    """For each second from `first` on: (percentile, is bad) of the requests planned in the last WINDOW_SECONDS of it."""
    by_second = [[] for _ in range(seconds)]
    for outcome in outcomes:
        by_second[int(outcome.at)].append(outcome)
    result = []
    for second in range(first, seconds):
        window = [o for s in range(max(first, second - WINDOW_SECONDS + 1), second + 1) for o in by_second[s]]
        failed = sum(o.status != 200 for o in window)
        percentile = quantile([o.seconds for o in window], share)
        bad = bool(window) and (percentile > threshold or failed > ERROR_SHARE * len(window))
        result.append((percentile or 0.0, bad))
    return result


def figures(run, first, seconds, threshold, share):
    """The figures of one policy over the part of the run that counts."""
    outcomes = [o for o in run["outcomes"] if o.at >= first]
    rows = [row for row in run["rows"] if first <= row[0] < seconds]
    judged = windows(run["outcomes"], first, seconds, threshold, share)
    times = [o.seconds for o in outcomes]
    length = sum(row[1] for row in rows)
    core_seconds = sum(row[1] * sum(row[3].values()) for row in rows) * (seconds - first) / length
    used = sum(row[1] * sum(row[2].values()) for row in rows) * (seconds - first) / length
    return {
        "policy": run["policy"],
        "violation_seconds": sum(bad for _, bad in judged),
        "violation_share": sum(bad for _, bad in judged) / len(judged),
        "p50_ms": 1000 * (quantile(times, 0.50) or 0), "p95_ms": 1000 * (quantile(times, 0.95) or 0),
        "p99_ms": 1000 * (quantile(times, 0.99) or 0),
        "mean_allocated_cores": core_seconds / (seconds - first), "core_seconds": core_seconds, "used_core_seconds": used,
        "cap_changes": run["changes"], "requests": len(outcomes), "failed_requests": sum(o.status != 200 for o in outcomes),
    }


def table(results):
    peak = next((r["core_seconds"] for r in results if r["policy"] == "static-peak"), None)
    lines = [f"{'policy':13} {'violated':>9} {'share':>7} {'p50 ms':>7} {'p95 ms':>7} {'p99 ms':>7} {'cores':>6} {'core-s':>7} "
             f"{'of peak':>8} {'changes':>8} {'failed':>7}"]
    for r in results:
        of_peak = f"{100 * r['core_seconds'] / peak:6.1f} %" if peak else "-"
        lines.append(f"{r['policy']:13} {r['violation_seconds']:7d} s {100 * r['violation_share']:5.1f} % {r['p50_ms']:7.0f} "
                     f"{r['p95_ms']:7.0f} {r['p99_ms']:7.0f} {r['mean_allocated_cores']:6.2f} {r['core_seconds']:7.1f} {of_peak:>8} "
                     f"{r['cap_changes']:8d} {r['failed_requests']:7d}")
    return "\n".join(lines)


def story(violation):
    """What happened in one violation, a line each."""
    end = f"to {violation['ended_seconds']:.1f} s" if violation["ended_seconds"] is not None else "on, still open at the end"
    return "\n".join([f"objective missed from {violation['started_seconds']:.1f} {end}: at worst {violation['observed_ms']:.0f} ms, "
                      f"{violation['threshold_ms']:.0f} allowed, {violation['requests']} requests in that window",
                      *(f"  {effect}" for effect in violation["effects"])])


class Svg:
    def __init__(self, width, height):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
                      f'<rect width="{width}" height="{height}" fill="white"/>']

    def text(self, x, y, text, colour="#222222", anchor="start"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{html.escape(text)}</text>')

    def line(self, points, colour, width=1.5):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def box(self, x, y, width, height, colour, opacity=1.0):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}" opacity="{opacity}"/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')

    def write(self, path):
        path.write_text("\n".join([*self.parts, "</svg>"]) + "\n")


def draw_runs(path, runs, tiers, first, seconds, threshold, share, what="caps", unit="cores"):
    """A strip for each policy: sum of caps and of use, time in violation shaded."""
    height, left, right = 110, 130, 20
    width = 900
    svg = Svg(width, 40 + height * len(runs) + 30)
    svg.text(left, 20, f"Sum of {what} (blue) and use (orange) of {', '.join(tiers)} in {unit}; time of violated objective shaded")
    most = max(sum(row[3].values()) for run in runs for row in run["rows"])

    def x(t):
        return left + (t - first) / (seconds - first) * (width - left - right)

    for index, run in enumerate(runs):
        base = 40 + height * (index + 1) - 12

        def y(cores, base=base):
            return base - cores / most * (height - 24)

        svg.text(left - 10, base - height / 2 + 16, run["policy"], anchor="end")
        for second, (_, bad) in enumerate(windows(run["outcomes"], first, seconds, threshold, share)):
            if bad:
                svg.box(x(first + second), base - height + 24, max(1.0, x(1) - x(0)), height - 24, COLOURS["bad"], 0.45)
        rows = [row for row in run["rows"] if first <= row[0] < seconds]
        for key, colour in ((2, "used"), (3, "cap")):
            points = []
            for i in range(0, len(rows), 5):
                chunk = rows[i:i + 5]
                points.append((x(chunk[0][0]), y(sum(sum(row[key].values()) for row in chunk) / len(chunk))))
            svg.line(points, COLOURS[colour])
        svg.line([(left, base), (width - right, base)], "#cccccc", 1)
        svg.text(left - 10, y(most) + 4, f"{most:.1f}", "#888888", "end")
    for t in range(0, seconds - first + 1, 30):
        svg.text(x(first + t), 40 + height * len(runs) + 14, f"{t} s", "#888888", "middle")
    svg.write(path)


def draw_frontier(path, results, key="core_seconds", what="core-seconds"):
    """Core-seconds against time in violation, a dot a policy."""
    width, height, left, bottom = 760, 420, 70, 50
    svg = Svg(width, height)
    svg.text(left, 20, "Time of violated objective against what was allocated; lower left is better")
    most_x = 1.1 * max(r[key] for r in results)
    most_y = 1.1 * max(0.01, *(r["violation_share"] for r in results))

    def x(value):
        return left + value / most_x * (width - left - 120)

    def y(value):
        return height - bottom - value / most_y * (height - bottom - 40)

    svg.line([(left, 40), (left, height - bottom), (width - 120, height - bottom)], "#888888", 1)
    for i in range(5):
        svg.text(x(most_x * i / 5), height - bottom + 18, f"{most_x * i / 5:.0f}", "#888888", "middle")
        svg.text(left - 6, y(most_y * i / 5) + 4, f"{100 * most_y * i / 5:.0f} %", "#888888", "end")
    svg.text((left + width - 120) / 2, height - 12, f"{what} allocated", anchor="middle")
    taken = []  # left, right and height of the labels so far
    for r in sorted(results, key=lambda r: r[key]):
        colour = "#d55e00" if r["policy"] == "ours" else "#0072b2"
        dot_x, dot_y = x(r[key]), y(r["violation_share"])
        from_x, to_x, label_y = dot_x + 9, dot_x + 14 + 7 * len(r["policy"]), dot_y - 6
        while any(from_x < right and to_x > left_ and abs(label_y - at) < 14 for left_, right, at in taken):
            label_y -= 14
        taken.append((from_x, to_x, label_y))
        svg.line([(dot_x, dot_y), (from_x - 1, label_y)], colour, 0.6)
        svg.dot(dot_x, dot_y, colour)
        svg.text(from_x, label_y + 2, r["policy"], colour)
    svg.write(path)
