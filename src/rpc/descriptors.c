#include "rpc/descriptors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/vec.h"
#include "rpc/field.h"

typedef struct symbol {
    char *name;
    int file;
} symbol;

typedef struct proto_file {
    const uint8_t *bytes;
    size_t size;
    char *name, *package;
    REID_VEC(char *) import_names;
    REID_VEC(int) imports;
} proto_file;

struct reid_rpc_descriptors {
    REID_VEC(proto_file) files;
    REID_VEC(symbol) symbols; /* sorted by name */
};

typedef reid_rpc_field field;

/* ---- what is defined where ---- */

/* Which fields of a descriptor hold named things; `inner` is how to walk into them. A name is
 * always field 1. */
typedef struct shape {
    uint32_t number;
    const struct shape *inner; /* ends with number 0 */
} shape;

static const shape leaf[] = {{0}};
static const shape enum_shape[] = {{2, leaf}, {0}};
static const shape service_shape[] = {{2, leaf}, {0}};
/* DescriptorProto: field, nested_type (itself), enum_type, extension, oneof_decl */
static const shape message_shape[] = {{2, leaf}, {3, message_shape}, {4, enum_shape},
                                      {6, leaf}, {8, leaf},          {0}};
/* FileDescriptorProto: message_type, enum_type, service, extension */
static const shape file_shape[] = {
    {4, message_shape}, {5, enum_shape}, {6, service_shape}, {7, leaf}, {0}};

enum { MAX_DEPTH = 32 };

static bool walk(reid_rpc_descriptors *d, int file, const char *scope, const uint8_t *bytes,
                 size_t size, const shape *shapes, int depth);

static char *join(const char *scope, const char *name, size_t length)
{
    return scope[0] ? reid_xasprintf("%s.%.*s", scope, (int)length, name)
                    : reid_xstrndup(name, length);
}

/* One named thing and everything in it. */
static bool define(reid_rpc_descriptors *d, int file, const char *scope, const field *f,
                   const shape *s, int depth)
{
    const uint8_t *at = f->bytes, *end = f->bytes + f->size;
    field inner;
    int more;
    while ((more = reid_rpc_next_field(&at, end, &inner)) == 1 &&
           !(inner.number == 1 && inner.type == 2))
        ;
    if (more != 1 || depth > MAX_DEPTH)
        return false;
    char *name = join(scope, (const char *)inner.bytes, inner.size);
    reid_vec_push(&d->symbols, ((symbol){name, file}));
    bool is_enum = s->inner == enum_shape; /* its values are named beside it, not inside */
    return walk(d, file, is_enum ? scope : name, f->bytes, f->size, s->inner, depth + 1);
}

static bool walk(reid_rpc_descriptors *d, int file, const char *scope, const uint8_t *bytes,
                 size_t size, const shape *shapes, int depth)
{
    const uint8_t *at = bytes, *end = bytes + size;
    field f;
    int more;
    while ((more = reid_rpc_next_field(&at, end, &f)) == 1)
        for (const shape *s = shapes; s->number != 0; s++)
            if (f.number == s->number && f.type == 2 && !define(d, file, scope, &f, s, depth))
                return false;
    return more == 0;
}

static bool read_file(reid_rpc_descriptors *d, const field *whole)
{
    proto_file file = {.bytes = whole->bytes, .size = whole->size};
    const uint8_t *at = whole->bytes, *end = whole->bytes + whole->size;
    field f;
    int more;
    while ((more = reid_rpc_next_field(&at, end, &f)) == 1) {
        if (f.type != 2 || f.number > 3)
            continue;
        char *text = reid_xstrndup((const char *)f.bytes, f.size);
        char **place = f.number == 1 ? &file.name : &file.package;
        if (f.number == 3) {
            reid_vec_push(&file.import_names, text);
            continue;
        }
        free(*place);
        *place = text;
    }
    reid_vec_push(&d->files, file);
    if (more != 0 || !file.name)
        return false;
    return walk(d, (int)d->files.count - 1, file.package ? file.package : "", whole->bytes,
                whole->size, file_shape, 0);
}

static int compare_symbols(const void *a, const void *b)
{
    return strcmp(((const symbol *)a)->name, ((const symbol *)b)->name);
}

static void resolve_imports(reid_rpc_descriptors *d)
{
    for (size_t i = 0; i < d->files.count; i++)
        for (size_t k = 0; k < d->files.items[i].import_names.count; k++) {
            int import = reid_rpc_descriptors_find_file(d, d->files.items[i].import_names.items[k]);
            if (import != REID_RPC_NO_FILE)
                reid_vec_push(&d->files.items[i].imports, import);
        }
}

reid_status reid_rpc_descriptors_new(const uint8_t *bytes, size_t size,
                                     reid_rpc_descriptors **ret_descriptors, reid_error *err)
{
    reid_rpc_descriptors *d = reid_xcalloc(1, sizeof *d);
    const uint8_t *at = bytes, *end = bytes + size;
    field f;
    int more;
    bool good = true;
    while (good && (more = reid_rpc_next_field(&at, end, &f)) != 0)
        good = more == 1 && (f.number != 1 || (f.type == 2 && read_file(d, &f)));
    if (!good) {
        reid_rpc_descriptors_free(d);
        return reid_fail(err, REID_ERR_INVALID,
                         "the descriptor set of the services cannot be read");
    }
    resolve_imports(d);
    if (d->symbols.count > 0)
        qsort(d->symbols.items, d->symbols.count, sizeof *d->symbols.items, compare_symbols);
    *ret_descriptors = d;
    return REID_OK;
}

void reid_rpc_descriptors_free(reid_rpc_descriptors *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->files.count; i++) {
        proto_file *file = &d->files.items[i];
        for (size_t k = 0; k < file->import_names.count; k++)
            free(file->import_names.items[k]);
        reid_vec_fini(&file->import_names);
        reid_vec_fini(&file->imports);
        free(file->name);
        free(file->package);
    }
    for (size_t i = 0; i < d->symbols.count; i++)
        free(d->symbols.items[i].name);
    reid_vec_fini(&d->files);
    reid_vec_fini(&d->symbols);
    free(d);
}

int reid_rpc_descriptors_find_file(const reid_rpc_descriptors *d, const char *name)
{
    for (size_t i = 0; i < d->files.count; i++)
        if (strcmp(d->files.items[i].name, name) == 0)
            return (int)i;
    return REID_RPC_NO_FILE;
}

int reid_rpc_descriptors_find_symbol(const reid_rpc_descriptors *d, const char *name)
{
    symbol wanted = {.name = (char *)(uintptr_t)name};
    const symbol *found = d->symbols.count == 0
                              ? NULL
                              : bsearch(&wanted, d->symbols.items, d->symbols.count,
                                        sizeof *d->symbols.items, compare_symbols);
    return found ? found->file : REID_RPC_NO_FILE;
}

int reid_rpc_descriptors_file_count(const reid_rpc_descriptors *d)
{
    return (int)d->files.count;
}

const uint8_t *reid_rpc_descriptors_file(const reid_rpc_descriptors *d, int file, size_t *ret_size)
{
    *ret_size = d->files.items[file].size;
    return d->files.items[file].bytes;
}

int reid_rpc_descriptors_import(const reid_rpc_descriptors *d, int file, size_t k)
{
    return k < d->files.items[file].imports.count ? d->files.items[file].imports.items[k]
                                                  : REID_RPC_NO_FILE;
}
