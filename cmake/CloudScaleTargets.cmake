# Target helpers: one folder, one target, one namespace. Dependents use only the alias `cloudscale::<name>`.
include(GoogleTest)

add_library(cloudscale_options INTERFACE)
add_library(cloudscale::options ALIAS cloudscale_options)
target_compile_options(cloudscale_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wundef
  -Wsuggest-override -Wunused-result -fno-omit-frame-pointer)
if(CLOUDSCALE_WARNINGS_AS_ERRORS)
  target_compile_options(cloudscale_options INTERFACE -Werror)
endif()
target_include_directories(cloudscale_options INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(cloudscale_options INTERFACE Threads::Threads)
if(CLOUDSCALE_SANITIZER)
  # GCC 12 sees uninitialised reads in its own instrumentation of std::optional.
  target_compile_options(cloudscale_options INTERFACE -fsanitize=${CLOUDSCALE_SANITIZER}
    -fno-sanitize-recover=all -Wno-maybe-uninitialized)
  target_link_options(cloudscale_options INTERFACE -fsanitize=${CLOUDSCALE_SANITIZER})
endif()
if(CLOUDSCALE_FUZZ)
  # clang finds libstdc++'s own std::stable_sort deprecated.
  target_compile_options(cloudscale_options INTERFACE -fsanitize=fuzzer-no-link,address,undefined
    -fno-sanitize-recover=all -Wno-deprecated-declarations)
  target_link_options(cloudscale_options INTERFACE -fsanitize=address,undefined)
endif()
if(CLOUDSCALE_COVERAGE)
  target_compile_options(cloudscale_options INTERFACE --coverage)
  target_link_options(cloudscale_options INTERFACE --coverage)
endif()

# cloudscale_library(name SRCS a.cc HDRS a.h DEPS x y): library cloudscale_<name>, alias cloudscale::<name>.
# Without SRCS it is header-only. Third-party includes should come from imported targets (SYSTEM).
function(cloudscale_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;HDRS;DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(cloudscale_${name} STATIC ${ARG_SRCS} ${ARG_HDRS})
    target_link_libraries(cloudscale_${name} PUBLIC cloudscale::options ${ARG_DEPS})
  else()
    add_library(cloudscale_${name} INTERFACE ${ARG_HDRS})
    target_link_libraries(cloudscale_${name} INTERFACE cloudscale::options ${ARG_DEPS})
  endif()
  add_library(cloudscale::${name} ALIAS cloudscale_${name})
endfunction()

# cloudscale_binary(name SRCS main.cc DEPS …): executable <name> under bin/.
function(cloudscale_binary name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE cloudscale::options ${ARG_DEPS})
endfunction()

# cloudscale_test(name SRCS a_test.cc DEPS … LABELS unit [TIMEOUT s]): one GoogleTest binary; each case is a ctest.
# Labels: unit (pure, no gRPC; also run under TSan), sim, rpc, integration, e2e, benchmark, fuzz.
function(cloudscale_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  foreach(src ${ARG_SRCS})
    file(REAL_PATH ${src} absolute BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_property(GLOBAL APPEND PROPERTY CLOUDSCALE_REGISTERED_TESTS ${absolute})
  endforeach()
  if(NOT CLOUDSCALE_BUILD_TESTS)
    return()
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  # What measures real load must not share the processors with other tests.
  set(serial FALSE)
  if("integration" IN_LIST ARG_LABELS)
    set(serial TRUE)
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE cloudscale::options ${ARG_DEPS} GTest::gmock
    GTest::gtest_main)
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}" RUN_SERIAL ${serial})
endfunction()

# cloudscale_hosted_test(name SRCS a_test.cc DEPS …): one GoogleTest binary for simulated hypervisor hosts. What runs it, with
# which hosts and cases, is in tests/CMakeLists.txt; a case of its own for each would start a host each.
function(cloudscale_hosted_test name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  foreach(src ${ARG_SRCS})
    file(REAL_PATH ${src} absolute BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_property(GLOBAL APPEND PROPERTY CLOUDSCALE_REGISTERED_TESTS ${absolute})
  endforeach()
  if(CLOUDSCALE_BUILD_TESTS)
    add_executable(${name} ${ARG_SRCS})
    target_link_libraries(${name} PRIVATE cloudscale::options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name} PRIVATE
      CLOUDSCALE_GUEST_PROGRAM="$<TARGET_FILE:cloudscale-test-guest>")
    add_dependencies(${name} cloudscale-test-guest)
  endif()
endfunction()

# cloudscale_benchmark(name SRCS a_bench.cc DEPS …): Google Benchmark binary with a tiny ctest run, so it never rots.
function(cloudscale_benchmark name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  if(NOT CLOUDSCALE_BUILD_BENCHMARKS)
    return()
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE cloudscale::options ${ARG_DEPS} benchmark::benchmark_main)
  if(CLOUDSCALE_BUILD_TESTS)
    add_test(NAME ${name}.smoke COMMAND ${name} --benchmark_min_time=0.001)
    set_tests_properties(${name}.smoke PROPERTIES LABELS benchmark TIMEOUT 120)
  endif()
endfunction()

# Fails the configure step when a *_test.cc exists that no cloudscale_test names: a test nobody runs is worse than none.
function(cloudscale_check_unregistered_tests)
  if(NOT CLOUDSCALE_BUILD_RPC)
    return()  # the reduced build leaves folders out on purpose
  endif()
  get_property(registered GLOBAL PROPERTY CLOUDSCALE_REGISTERED_TESTS)
  file(GLOB_RECURSE present ${CMAKE_SOURCE_DIR}/agents/*_test.cc ${CMAKE_SOURCE_DIR}/cli/*_test.cc
    ${CMAKE_SOURCE_DIR}/cloudscaled/*_test.cc ${CMAKE_SOURCE_DIR}/common/*_test.cc
    ${CMAKE_SOURCE_DIR}/hypervisor/*_test.cc ${CMAKE_SOURCE_DIR}/services/*_test.cc
    ${CMAKE_SOURCE_DIR}/sim/*_test.cc ${CMAKE_SOURCE_DIR}/tests/*_test.cc)
  set(missing)
  foreach(file ${present})
    if(NOT file IN_LIST registered)
      list(APPEND missing ${file})
    endif()
  endforeach()
  if(missing)
    list(JOIN missing "\n  " text)
    if(CLOUDSCALE_ALLOW_UNREGISTERED_TESTS)
      message(WARNING "tests named by no cloudscale_test():\n  ${text}")
    else()
      message(FATAL_ERROR "tests named by no cloudscale_test():\n  ${text}")
    endif()
  endif()
endfunction()
