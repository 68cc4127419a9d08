#pragma once

#include <string>

namespace cloudscale::guest::testing {

// A serial channel of a VM for tests: a pseudo terminal whose guest side has a name that stays, as
// a device has, however often the host side is closed and opened. Thread safety:
// thread-compatible.
class PseudoChannel {
 public:
  // `path`: of the guest side, made when the host side opens.
  explicit PseudoChannel(std::string path) : path_(std::move(path)) {}
  ~PseudoChannel() { CloseHostSide(); }
  PseudoChannel(const PseudoChannel&) = delete;
  PseudoChannel& operator=(const PseudoChannel&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  // The file descriptor of the host side; passes every byte as it is.
  int OpenHostSide();
  // The guest side sees the end.
  void CloseHostSide();

 private:
  const std::string path_;
  int host_fd_ = -1;
};

}  // namespace cloudscale::guest::testing
