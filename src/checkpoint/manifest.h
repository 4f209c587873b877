/* manifest.json: the mark that a checkpoint is complete, and what it must hold. One JSON object;
 * its last member "checksum" is the XXH3-64 of the object's text without that member. */
#ifndef REID_CHECKPOINT_MANIFEST_H
#define REID_CHECKPOINT_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "base/vec.h"

#define REID_MANIFEST_FILE "manifest.json"
#define REID_MANIFEST_LIMIT_BYTES ((size_t)4 << 20)

typedef struct reid_manifest_library {
    char *name, *version;
} reid_manifest_library;

typedef struct reid_manifest_file {
    char *name;
    uint64_t bytes, hash;
} reid_manifest_file;

typedef struct reid_manifest {
    char *name;
    uint64_t config_hash;
    int world_size;
    int64_t iteration, epoch, created_ms;
    REID_VEC(reid_manifest_library) libraries;
    REID_VEC(reid_manifest_file) files;
} reid_manifest;

void reid_manifest_fini(reid_manifest *manifest);
void reid_manifest_render(const reid_manifest *manifest, reid_str *out);
/* Puts the checksum into a text that ends with the object's brace, as rendering does. */
void reid_manifest_seal(reid_str *text);
/* Reads dir/manifest.json into a zeroed object; fini also after failure. NOT_FOUND: there is none.
 * CORRUPT: damaged. */
reid_status reid_manifest_read(const char *dir, reid_manifest *ret_manifest, reid_error *err);
/* The same from memory; `path` is for error sentences. The text is written to, and as it was
 * afterwards. */
reid_status reid_manifest_parse(const char *path, char *text, size_t size, reid_manifest *manifest,
                                reid_error *err);
/* The file's entry, or NULL. */
const reid_manifest_file *reid_manifest_find(const reid_manifest *manifest, const char *file);
/* A name without a folder that is not hidden and not the manifest's. */
bool reid_manifest_is_file_name(const char *name);

#endif
