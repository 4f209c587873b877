# Options of the build and the flags that follow from them.
option(REID_TESTS "Build the tests" ON)
option(REID_WERROR "Treat warnings as errors" OFF)
set(REID_MPI AUTO CACHE STRING "Collectives over Open MPI: AUTO, ON or OFF")
set(REID_CUDA AUTO CACHE STRING "The CUDA backend: AUTO, ON or OFF")
set(REID_SANITIZE "" CACHE STRING "Sanitizers, such as address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
# Assertions are ours (REID_ASSERT) and stay on in release.
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1")

add_library(reid_flags INTERFACE)
target_compile_definitions(reid_flags INTERFACE _GNU_SOURCE)
target_include_directories(reid_flags INTERFACE ${PROJECT_BINARY_DIR}/generated)
# No contraction to fused multiply-add: every instruction-set clone of a loop gives the same bits.
target_compile_options(reid_flags INTERFACE -fno-math-errno -ffp-contract=off
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wwrite-strings
  -Wno-unused-parameter -Wno-missing-field-initializers
  $<$<BOOL:${REID_WERROR}>:-Werror>)
if(REID_SANITIZE)
  add_compile_options(-fsanitize=${REID_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${REID_SANITIZE})
  add_library(reid_sanitizers OBJECT ${PROJECT_SOURCE_DIR}/tests/harness/sanitizers.c)
  target_sources(reid_flags INTERFACE
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:$<TARGET_OBJECTS:reid_sanitizers>>)
endif()
