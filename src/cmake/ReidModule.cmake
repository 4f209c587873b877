# reid_module(NAME SOURCES a.c … LIBS reid_base …): one folder under src/, one static library reid_NAME.
function(reid_module name)
  cmake_parse_arguments(M "" "" "SOURCES;LIBS" ${ARGN})
  add_library(reid_${name} STATIC ${M_SOURCES})
  target_include_directories(reid_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(reid_${name} PUBLIC ${M_LIBS} PRIVATE reid_flags)
endfunction()

# reid_program(NAME SOURCES … LIBS …): an executable in build/…/bin.
function(reid_program name)
  cmake_parse_arguments(P "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${P_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PRIVATE ${P_LIBS} reid_flags)
endfunction()

# reid_unit_tests(MODULE LIBS …): every test_*.c of this folder is one cmocka program and one ctest test
# named unit.MODULE.FILE. LIBS are also linked.
function(reid_unit_tests module)
  cmake_parse_arguments(T "" "" "LIBS" ${ARGN})
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/test_*.c)
  foreach(file ${files})
    get_filename_component(stem ${file} NAME_WE)
    string(REGEX REPLACE "^test_" "" short ${stem})
    set(target unit_${module}_${short})
    add_executable(${target} ${file})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
    target_link_libraries(${target} PRIVATE ${T_LIBS} PkgConfig::cmocka reid_flags)
    add_test(NAME unit.${module}.${short} COMMAND ${target})
    set_tests_properties(unit.${module}.${short} PROPERTIES TIMEOUT ${REID_TEST_TIMEOUT} LABELS unit)
  endforeach()
endfunction()
