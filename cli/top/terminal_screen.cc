#include "cli/top/terminal_screen.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

namespace cloudscale::cli {

struct TerminalInput::State {
  sigset_t old_signals{};
  int signal_fd = -1;
  bool is_keyboard_changed = false;
  termios old_keyboard{};
};

TerminalInput::TerminalInput(bool is_keyboard_wanted) : state_(new State) {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int signal : {SIGINT, SIGTERM, SIGWINCH}) {
    sigaddset(&wanted, signal);
  }
  pthread_sigmask(SIG_BLOCK, &wanted, &state_->old_signals);
  state_->signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
  if (is_keyboard_wanted && tcgetattr(STDIN_FILENO, &state_->old_keyboard) == 0) {
    termios raw = state_->old_keyboard;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    state_->is_keyboard_changed = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
}

TerminalInput::~TerminalInput() {
  if (state_->is_keyboard_changed) {
    tcsetattr(STDIN_FILENO, TCSANOW, &state_->old_keyboard);
  }
  if (state_->signal_fd >= 0) {
    close(state_->signal_fd);
  }
  pthread_sigmask(SIG_SETMASK, &state_->old_signals, nullptr);
  delete state_;
}

Wake TerminalInput::Wait(absl::Duration timeout) {
  const int64_t ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 0, 60'000);
  std::array<pollfd, 2> fds = {
      {{.fd = state_->signal_fd, .events = POLLIN, .revents = 0},
       {.fd = state_->is_keyboard_changed ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}}};
  if (poll(fds.data(), fds.size(), static_cast<int>(ms)) <= 0) {
    return Wake::kTimeout;
  }
  if (fds[0].revents != 0) {
    signalfd_siginfo info{};
    if (read(state_->signal_fd, &info, sizeof(info)) == sizeof(info)) {
      return info.ssi_signo == SIGWINCH ? Wake::kResized : Wake::kQuit;
    }
  }
  if (fds[1].revents != 0) {
    char key = '\0';
    if (read(STDIN_FILENO, &key, 1) != 1) {
      state_->is_keyboard_changed = false;  // closed: go on without keys
    } else if (key == 'q' || key == 'Q' || key == '\x04') {
      return Wake::kQuit;
    }
  }
  return Wake::kTimeout;
}

TerminalScreen::TerminalScreen(Io& io) : io_(io) {
  // Alternate screen, no cursor, no wrapping of long lines.
  io_.out << "\x1b[?1049h\x1b[?25l\x1b[?7l" << std::flush;
}

TerminalScreen::~TerminalScreen() { io_.out << "\x1b[?7h\x1b[?25h\x1b[?1049l" << std::flush; }

void TerminalScreen::Draw(const std::vector<std::string>& lines) {
  // Overwrites in place and clears the rest, which does not flicker as clearing first would.
  std::string frame = "\x1b[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    frame += lines[i];
    frame += i + 1 < lines.size() ? "\x1b[K\r\n" : "\x1b[K\x1b[J";
  }
  io_.out << frame << std::flush;
}

}  // namespace cloudscale::cli
