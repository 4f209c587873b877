/* A module with one thing wrong, chosen by the build. Its backend knows its name and nothing else.
 */
#include <stdio.h>

#include "backend/module.h"
#include "backend/op.h"

#ifndef FAKE_MODULE_ABI
#define FAKE_MODULE_ABI REID_MODULE_ABI
#endif
#ifndef FAKE_BACKEND_ABI
#define FAKE_BACKEND_ABI REID_BACKEND_ABI
#endif
#ifndef FAKE_NAME
#define FAKE_NAME "cuda"
#endif
#ifdef FAKE_NEEDS
int fake_module_needed(void);
#endif

#ifndef FAKE_NO_ENTRY
static reid_status open_fake(const char *device, int threads, reid_backend **ret_backend,
                             reid_error *err)
{
    static const reid_backend_impl impl = {.abi = FAKE_BACKEND_ABI, .name = "fake"};
    static reid_backend backend = {.impl = &impl};
    if (device[0]) {
        snprintf(err->text, sizeof err->text, "no device '%s'", device);
        return err->code = REID_ERR_NOT_FOUND;
    }
    *ret_backend = &backend;
    return REID_OK;
}

static void *no_symbol(const char *name)
{
    return NULL;
}

reid_module_entry_fn reid_module_entry;

const reid_module *reid_module_entry(void)
{
    static const reid_module module = {FAKE_MODULE_ABI, FAKE_NAME, open_fake, no_symbol};
#ifdef FAKE_NEEDS
    if (fake_module_needed())
        return NULL;
#endif
    return &module;
}
#else
extern int fake_module_of_another_program;
int fake_module_of_another_program;
#endif
