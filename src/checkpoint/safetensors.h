/* Files of tensors in the safetensors format, version 1
 * (https://github.com/huggingface/safetensors, README "Format"): u64 little-endian N; N bytes of
 * JSON {"name":{"dtype","shape","data_offsets":[begin,end]},…,"__metadata__":{…}}, padded with
 * spaces; then the data without holes, little-endian, row-major.
 *
 * Writing: fill an array of items and call reid_safetensors_write: data are taken from memory or,
 * tensor by tensor, from a function, so that nothing needs to be held twice. Reading:
 * reid_safetensors_open checks the whole header (size, names, types, shapes, offsets, no overlap,
 * no hole, length of the file) and refuses what is not in order; data are read when asked for. A
 * reader may be used by one thread at a time.
 */
#ifndef REID_CHECKPOINT_SAFETENSORS_H
#define REID_CHECKPOINT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define REID_SAFETENSORS_MAX_RANK 8
#define REID_SAFETENSORS_MAX_HEADER_BYTES ((uint64_t)32 << 20)

typedef enum reid_safetensors_dtype {
    REID_SAFETENSORS_F32,
    REID_SAFETENSORS_BF16,
    REID_SAFETENSORS_I32,
    REID_SAFETENSORS_I64,
    REID_SAFETENSORS_U8,
    REID_SAFETENSORS_DTYPES
} reid_safetensors_dtype;

const char *reid_safetensors_dtype_name(reid_safetensors_dtype dtype); /* "F32" */
size_t reid_safetensors_dtype_bytes(reid_safetensors_dtype dtype);

/* Puts the tensor's bytes at `ret_data`. */
typedef reid_status reid_safetensors_fill(void *user, void *ret_data, size_t bytes,
                                          reid_error *err);

typedef struct reid_safetensors_item {
    const char *name;
    reid_safetensors_dtype dtype;
    int rank; /* 0: a scalar */
    int64_t shape[REID_SAFETENSORS_MAX_RANK];
    const void *data;            /* or */
    reid_safetensors_fill *fill; /* called once, when the tensor's turn comes, with `user` */
    void *user;
} reid_safetensors_item;

typedef struct reid_safetensors_pair {
    const char *key, *value;
} reid_safetensors_pair;

/* Number of bytes of an item's data. INVALID for a negative or overflowing shape. */
reid_status reid_safetensors_item_bytes(const reid_safetensors_item *item, size_t *ret_bytes,
                                        reid_error *err);

/* Writes a new file at `path` (which must not exist) and brings it to disk (fsync). Tensors are
 * stored by falling size of element, else in the given order; the data start at a multiple of 64.
 * `ret_size` and `ret_hash` (XXH3-64 of the whole file) may be NULL. On failure the file is
 * removed. INVALID for a repeated or empty name. */
reid_status reid_safetensors_write(const char *path, const reid_safetensors_item *items,
                                   size_t count, const reid_safetensors_pair *metadata,
                                   size_t metadata_count, uint64_t *ret_size, uint64_t *ret_hash,
                                   reid_error *err);

typedef struct reid_safetensors reid_safetensors;

typedef struct reid_safetensors_info {
    const char *name; /* valid until the reader is freed */
    reid_safetensors_dtype dtype;
    int rank;
    int64_t shape[REID_SAFETENSORS_MAX_RANK];
    size_t bytes;
    uint64_t offset; /* in the file */
} reid_safetensors_info;

/* CORRUPT names the file and the fault; UNSUPPORTED names a type of the format that this version
 * does not read. */
reid_status reid_safetensors_open(const char *path, reid_safetensors **ret_file, reid_error *err);
/* The same from memory, which must outlive the reader; `name` is for error sentences. */
reid_status reid_safetensors_open_memory(const void *data, size_t size, const char *name,
                                         reid_safetensors **ret_file, reid_error *err);
void reid_safetensors_free(reid_safetensors *file);

size_t reid_safetensors_count(const reid_safetensors *file);
const reid_safetensors_info *reid_safetensors_at(const reid_safetensors *file,
                                                 size_t index); /* in order of data */
const reid_safetensors_info *reid_safetensors_find(const reid_safetensors *file,
                                                   const char *name);                 /* or NULL */
const char *reid_safetensors_metadata(const reid_safetensors *file, const char *key); /* or NULL */
/* Copies info->bytes to `ret_data`. */
reid_status reid_safetensors_read(const reid_safetensors *file, const reid_safetensors_info *info,
                                  void *ret_data, reid_error *err);
/* Finds by name, requires this type and shape (the sentence tells both when they differ), and
 * copies. */
reid_status reid_safetensors_read_exact(const reid_safetensors *file, const char *name,
                                        reid_safetensors_dtype dtype, int rank,
                                        const int64_t *shape, void *ret_data, reid_error *err);

#endif
