# cmake --install, and packages by cpack. Programs find each other beside themselves and modules in ../lib, so that the prefix is
# free (--prefix), and may be moved. PREFIX/share/reidd is laid out as a checkout: what the README files show holds there.
set(programs reidd reidd-shim reidctl reid-train)
if(REID_HAVE_MPI)
  list(APPEND programs reidd-join)
endif()
install(TARGETS ${programs} RUNTIME DESTINATION bin)
if(REID_HAVE_CUDA)
  install(TARGETS reid_cuda LIBRARY DESTINATION lib)
endif()
install(FILES src/engine/guest/reid_hook_abi.h DESTINATION include)
install(FILES README.md LICENSE DESTINATION share/reidd)
install(DIRECTORY deploy/cluster deploy/configs deploy/hooks deploy/slurm deploy/systemd deploy/upgrade
  DESTINATION share/reidd/deploy USE_SOURCE_PERMISSIONS PATTERN CMakeLists.txt EXCLUDE)
install(DIRECTORY client/python DESTINATION share/reidd/client USE_SOURCE_PERMISSIONS PATTERN __pycache__ EXCLUDE)
install(DIRECTORY proto/reid DESTINATION share/reidd/proto)

# The unit names the programs by their full path, which is known now only.
install(CODE "
  file(READ \"${PROJECT_SOURCE_DIR}/deploy/systemd/reidd.service\" unit)
  string(REPLACE /usr/ \"\${CMAKE_INSTALL_PREFIX}/\" unit \"\${unit}\")
  file(WRITE \"${PROJECT_BINARY_DIR}/reidd.service\" \"\${unit}\")")
install(FILES ${PROJECT_BINARY_DIR}/reidd.service DESTINATION lib/systemd/system)
install(FILES deploy/systemd/sysusers.conf DESTINATION lib/sysusers.d RENAME reidd.conf)
install(FILES deploy/systemd/tmpfiles.conf DESTINATION lib/tmpfiles.d RENAME reidd.conf)

# cpack -G DEB --config build/release/CPackConfig.cmake: a package for /usr with its dependencies.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME reidd)
set(CPACK_PACKAGE_CONTACT "the authors of reidd")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "training daemon for person re-identification")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES TRUE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS TRUE)
if(REID_HAVE_MPI)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS openmpi-bin)
endif()
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/deploy/packages/postinst ${PROJECT_SOURCE_DIR}/deploy/packages/prerm)
include(CPack)
