"""The auction site of the experiment: a WSGI application over PostgreSQL, one process a worker, run by gunicorn.

Pages, as RUBiS has them: /search?category=C&page=P (100 items), /item?id=I (item, its newest bids and items like it), /bid?id=I&user=U&raise=R
(places a bid, then shows the item). Each page checks the signature of its session, which stands for what applications compute by
themselves. WEBAPP_DATABASE names the database.
"""
import gzip
import os
from urllib.parse import parse_qs

import jinja2
import psycopg2

from session import is_genuine

TEMPLATE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html><head><title>{{ title }} - auctions</title><meta charset="utf-8"></head><body><h1>{{ title }}</h1>
{% if item %}<p>{{ item.description }}</p><p>{{ "%.2f"|format(item.price) }} after {{ item.bids }} bids</p>
<ol>{% for bid in bids %}<li>{{ bid.user }}: {{ "%.2f"|format(bid.amount) }} at {{ bid.placed.strftime("%H:%M:%S") }}</li>{% endfor %}</ol>
{% endif %}<table>{% for row in rows %}
<tr class="{{ loop.cycle('odd', 'even') }}"><td><a href="/item?id={{ row.id }}">{{ row.name|title }}</a></td>
<td>{{ "%.2f"|format(row.price) }}</td><td>{{ row.bids }}</td><td>{{ row.description|truncate(60) }}</td></tr>{% endfor %}
</table></body></html>
""")
ROW = ("id", "name", "price", "bids", "description")

_connection = None


def database():
    # One a worker process, made at its first request: gunicorn forks before.
    global _connection
    if _connection is None or _connection.closed:
        _connection = psycopg2.connect(os.environ["WEBAPP_DATABASE"])
        _connection.autocommit = True
    return _connection


def rows_of(cursor):
    return [dict(zip(ROW, row)) for row in cursor.fetchall()]


def search(cursor, arguments):
    category, page = int(arguments["category"][0]), int(arguments["page"][0])
    cursor.execute("SELECT id, name, price, bid_count, description FROM items WHERE category = %s "
                   "ORDER BY ends_at, id LIMIT 100 OFFSET %s", (category, 100 * page))
    return {"title": f"Category {category}", "rows": rows_of(cursor)}


def item(cursor, arguments):
    number = int(arguments["id"][0])
    cursor.execute("SELECT name, price, bid_count, description, category, ends_at FROM items WHERE id = %s", (number,))
    row = cursor.fetchone()
    if row is None:
        raise LookupError(number)
    cursor.execute("SELECT u.name, b.amount, b.placed_at FROM bids b JOIN users u ON u.id = b.user_id "
                   "WHERE b.item_id = %s ORDER BY b.id DESC LIMIT 20", (number,))
    bids = [dict(zip(("user", "amount", "placed"), bid)) for bid in cursor.fetchall()]
    cursor.execute("SELECT id, name, price, bid_count, description FROM items WHERE category = %s AND ends_at >= %s "
                   "ORDER BY ends_at, id LIMIT 60", (row[4], row[5]))
    return {"title": row[0], "item": {"price": row[1], "bids": row[2], "description": row[3]}, "bids": bids, "rows": rows_of(cursor)}


def bid(cursor, arguments):
    number, user, growth = int(arguments["id"][0]), int(arguments["user"][0]), float(arguments["raise"][0])
    cursor.execute("BEGIN")
    try:
        cursor.execute("UPDATE items SET price = price + %s, bid_count = bid_count + 1 WHERE id = %s RETURNING price",
                       (growth, number))
        price = cursor.fetchone()
        if price is None:
            raise LookupError(number)
        cursor.execute("INSERT INTO bids (item_id, user_id, amount) VALUES (%s, %s, %s)", (number, user, price[0]))
        cursor.execute("COMMIT")
    except Exception:
        cursor.execute("ROLLBACK")
        raise
    return item(cursor, arguments)


PAGES = {"/search": search, "/item": item, "/bid": bid}


def application(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"])
    status, content = "200 OK", {"title": ""}
    if page is None:
        status, content = "404 Not Found", {"title": "No such page"}
    else:
        try:
            arguments = parse_qs(environ["QUERY_STRING"])
            session, _, signature = arguments["session"][0].partition(".")
            if not is_genuine(session, signature):
                raise ValueError("session")
            with database().cursor() as cursor:
                content = page(cursor, arguments)
        except (KeyError, ValueError) as fault:
            status, content = "400 Bad Request", {"title": f"Bad argument: {fault}"}
        except LookupError as fault:
            status, content = "404 Not Found", {"title": f"No item {fault}"}
    data = gzip.compress(TEMPLATE.render(content).encode(), 6)
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), ("Content-Encoding", "gzip"), ("Content-Length", str(len(data)))])
    return [data]
