#pragma once

#include <cstdio>
#include <cstdlib>

// For programmer errors only, in every build. Never check what the environment, a peer or a file
// can cause.
#define CS_CHECK(condition)                                                              \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
