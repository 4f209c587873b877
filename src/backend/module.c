#include "backend/module.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

/* ".../bin/reid-train" → ".../lib". */
static reid_status own_library_folder(reid_str *folder, reid_error *err)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        return reid_fail_errno(err, 0, "cannot find the folder of this program");
    program[length] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(program, '/');
        if (slash)
            *slash = '\0';
    }
    reid_str_addf(folder, "%s/lib", program);
    return REID_OK;
}

static reid_status module_path(const char *name, reid_str *path, reid_error *err)
{
    const char *folder = getenv("REID_MODULE_DIR");
    if (folder && folder[0])
        reid_str_addf(path, "%s", folder);
    else
        REID_TRY(own_library_folder(path, err));
    reid_str_addf(path, "/libreid-%s.so", name);
    return REID_OK;
}

static reid_status check(const char *name, const char *path, void *library,
                         const reid_module **ret_module, reid_error *err)
{
    /* ISO C has no cast from an object pointer to a function pointer; POSIX promises this one. */
    union {
        void *object;
        reid_module_entry_fn *function;
    } entry = {dlsym(library, REID_MODULE_ENTRY)};
    const reid_module *module = entry.object ? entry.function() : NULL;
    if (!module)
        return reid_fail(err, REID_ERR_UNSUPPORTED, "'%s' is not a module of reidd: it has no %s",
                         path, REID_MODULE_ENTRY);
    if (module->abi != REID_MODULE_ABI)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "'%s' has module ABI %u, this program needs %u: install the two from one "
                         "build",
                         path, module->abi, REID_MODULE_ABI);
    if (strcmp(module->name, name) != 0)
        return reid_fail(err, REID_ERR_UNSUPPORTED, "'%s' holds the module '%s', not '%s'", path,
                         module->name, name);
    *ret_module = module;
    return REID_OK;
}

reid_status reid_module_load(const char *name, const reid_module **ret_module, reid_error *err)
{
    reid_str path = REID_STR_INIT;
    reid_status status = module_path(name, &path, err);
    if (status == REID_OK && access(path.data, R_OK) != 0) {
        status = reid_fail(err, REID_ERR_UNSUPPORTED,
                           "backend '%s' needs '%s', which is not there: this build has no such "
                           "module (REID_MODULE_DIR names another folder)",
                           name, path.data);
    } else if (status == REID_OK) {
        void *library = dlopen(path.data, RTLD_NOW | RTLD_LOCAL);
        const char *why = library ? NULL : dlerror();
        status = library ? check(name, path.data, library, ret_module, err)
                         : reid_fail(err, REID_ERR_UNSUPPORTED, "backend '%s' cannot be loaded: %s",
                                     name, why ? why : "unknown error of the dynamic loader");
    }
    reid_str_fini(&path);
    return status;
}
