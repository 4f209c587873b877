# What the build needs and what it can use. A missing requirement names its Debian package.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(reid_require target module package)
  pkg_check_modules(${target} IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${target}_FOUND)
    message(FATAL_ERROR "${module} was not found; install it with: apt-get install ${package}")
  endif()
endfunction()

reid_require(uv libuv libuv1-dev)
reid_require(nghttp2 libnghttp2 libnghttp2-dev)
reid_require(protobufc libprotobuf-c libprotobuf-c-dev)
reid_require(openssl openssl libssl-dev)
reid_require(sqlite sqlite3 libsqlite3-dev)
reid_require(yaml yaml-0.1 libyaml-dev)
reid_require(jansson jansson libjansson-dev)
reid_require(xxhash libxxhash libxxhash-dev)
reid_require(lua lua5.4 liblua5.4-dev)
reid_require(jpeg libjpeg libjpeg62-turbo-dev)
reid_require(png libpng libpng-dev)

find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_GEN_C protoc-gen-c)
if(NOT PROTOC_GEN_C)
  message(FATAL_ERROR "protoc-gen-c was not found; install it with: apt-get install protobuf-c-compiler")
endif()

# Looked up by hand: the package's own CMake file asks for OpenCL's development files, which a CPU does not need.
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h)
find_library(DNNL_LIBRARY dnnl)
if(NOT DNNL_INCLUDE_DIR OR NOT DNNL_LIBRARY)
  message(FATAL_ERROR "oneDNN was not found; install it with: apt-get install libdnnl-dev")
endif()
set(REID_HAVE_DNNL TRUE)
file(STRINGS ${DNNL_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h lines REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH)")
string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+)[^0-9]+([0-9]+).*" "\\1.\\2.\\3" dnnl_VERSION "${lines}")
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES
  IMPORTED_LOCATION ${DNNL_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${DNNL_INCLUDE_DIR})

set(REID_HAVE_MPI FALSE)
if(NOT REID_MPI STREQUAL "OFF")
  find_package(MPI COMPONENTS C QUIET)
  set(REID_HAVE_MPI ${MPI_C_FOUND})
  if(REID_MPI STREQUAL "ON" AND NOT REID_HAVE_MPI)
    message(FATAL_ERROR "REID_MPI=ON, but MPI was not found; install it with: apt-get install libopenmpi-dev")
  endif()
endif()

include(ReidCuda)

find_package(Git QUIET)
set(REID_REVISION "")
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${PROJECT_SOURCE_DIR} rev-parse --short HEAD
    OUTPUT_VARIABLE REID_REVISION OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()

configure_file(${CMAKE_CURRENT_LIST_DIR}/version.h.in ${PROJECT_BINARY_DIR}/generated/version.h @ONLY)
