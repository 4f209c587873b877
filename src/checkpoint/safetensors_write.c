#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "checkpoint/safetensors_impl.h"

#define DATA_ALIGNMENT 64
#define WRITE_BYTES ((size_t)4 << 20) /* hashed and written while still in the cache */

/* An item and its place in the file. */
typedef struct placed_item {
    const reid_safetensors_item *item;
    size_t bytes;
    uint64_t begin; /* from the start of the data */
} placed_item;

typedef struct sink {
    int fd;
    const char *path;
    uint64_t size;
    reid_hash_state *hash;
} sink;

reid_status reid_safetensors_item_bytes(const reid_safetensors_item *item, size_t *ret_bytes,
                                        reid_error *err)
{
    if (item->rank < 0 || item->rank > REID_SAFETENSORS_MAX_RANK)
        return reid_fail(err, REID_ERR_INVALID,
                         "tensor '%s' has %d dimensions; 0 to %d can be stored", item->name,
                         item->rank, REID_SAFETENSORS_MAX_RANK);
    if (reid_safetensors_shape_bytes(item->dtype, item->rank, item->shape, ret_bytes))
        return REID_OK;
    reid_str shape = REID_STR_INIT;
    reid_safetensors_shape_text(&shape, item->rank, item->shape);
    reid_fail(err, REID_ERR_INVALID, "tensor '%s' has the impossible shape %s", item->name,
              reid_str_text(&shape));
    reid_str_fini(&shape);
    return REID_ERR_INVALID;
}

/* Larger elements first, so that each tensor is aligned to its own; the given order among equals
 * (items lie in one array). */
static int compare_placed(const void *a, const void *b)
{
    const placed_item *x = a, *y = b;
    size_t x_bytes = reid_safetensors_dtype_bytes(x->item->dtype);
    size_t y_bytes = reid_safetensors_dtype_bytes(y->item->dtype);
    if (x_bytes != y_bytes)
        return x_bytes > y_bytes ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

static reid_status place_items(const reid_safetensors_item *items, size_t count,
                               placed_item *placed, reid_error *err)
{
    for (size_t i = 0; i < count; i++) {
        placed[i].item = &items[i];
        if (!items[i].name || !*items[i].name ||
            strcmp(items[i].name, REID_SAFETENSORS_METADATA) == 0)
            return reid_fail(err, REID_ERR_INVALID, "a tensor cannot be stored under the name '%s'",
                             items[i].name ? items[i].name : "");
        REID_TRY(reid_safetensors_item_bytes(&items[i], &placed[i].bytes, err));
        REID_ASSERT(items[i].data || items[i].fill || placed[i].bytes == 0);
    }
    if (count > 0)
        qsort(placed, count, sizeof *placed, compare_placed);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        placed[i].begin = at;
        if (__builtin_add_overflow(at, placed[i].bytes, &at) || at > INT64_MAX)
            return reid_fail(err, REID_ERR_INVALID, "the tensors are too large for one file");
    }
    return REID_OK;
}

static void render_tensor(reid_json_writer *w, const placed_item *p)
{
    reid_json_key(w, p->item->name);
    reid_json_object(w);
    reid_json_key(w, "dtype");
    reid_json_string(w, reid_safetensors_dtype_name(p->item->dtype));
    reid_json_key(w, "shape");
    reid_json_array(w);
    for (int i = 0; i < p->item->rank; i++)
        reid_json_int(w, p->item->shape[i]);
    reid_json_end_array(w);
    reid_json_key(w, "data_offsets");
    reid_json_array(w);
    reid_json_int(w, (int64_t)p->begin);
    reid_json_int(w, (int64_t)(p->begin + p->bytes));
    reid_json_end_array(w);
    reid_json_end_object(w);
}

static void render_header(reid_str *out, const placed_item *placed, size_t count,
                          const reid_safetensors_pair *metadata, size_t metadata_count)
{
    reid_json_writer w = reid_json_begin(out);
    reid_json_object(&w);
    if (metadata_count > 0) {
        reid_json_key(&w, REID_SAFETENSORS_METADATA);
        reid_json_object(&w);
        for (size_t i = 0; i < metadata_count; i++) {
            reid_json_key(&w, metadata[i].key);
            reid_json_string(&w, metadata[i].value);
        }
        reid_json_end_object(&w);
    }
    for (size_t i = 0; i < count; i++)
        render_tensor(&w, &placed[i]);
    reid_json_end_object(&w);
    while ((out->length + sizeof(uint64_t)) % DATA_ALIGNMENT != 0)
        reid_str_add_char(out, ' ');
}

/* What a reader would refuse or not find (a repeated name, one that is not UTF-8, too many tensors)
 * is found before anything is written: by reading the header back. */
static reid_status check_header(const reid_str *header, const char *path, const placed_item *placed,
                                size_t count, reid_error *err)
{
    reid_json *parsed;
    reid_error fault = {0};
    reid_status status = REID_OK;
    if (header->length > REID_SAFETENSORS_MAX_HEADER_BYTES)
        return reid_fail(
            err, REID_ERR_INVALID,
            "cannot write '%s': its list of tensors has %zu bytes, over the limit of %llu", path,
            header->length, (unsigned long long)REID_SAFETENSORS_MAX_HEADER_BYTES);
    if (reid_json_parse(header->data, header->length, &parsed, &fault) != REID_OK)
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot write '%s': the names of its tensors are not in order: %s", path,
                         fault.text);
    for (size_t i = 0; i < count && status == REID_OK; i++) {
        if (!reid_json_get(parsed, placed[i].item->name))
            status = reid_fail(err, REID_ERR_INVALID,
                               "cannot write '%s': the name of tensor '%s' is not UTF-8", path,
                               placed[i].item->name);
    }
    reid_json_free(parsed);
    return status;
}

static reid_status sink_write(sink *s, const void *data, size_t bytes, reid_error *err)
{
    const char *at = data;
    while (bytes > 0) {
        size_t piece = bytes < WRITE_BYTES ? bytes : WRITE_BYTES;
        reid_hash_update(s->hash, at, piece);
        REID_TRY(reid_write_all(s->fd, at, piece, s->path, err));
        s->size += piece;
        at += piece;
        bytes -= piece;
    }
    return REID_OK;
}

static reid_status write_data(sink *s, const placed_item *placed, size_t count, reid_error *err)
{
    size_t most = 0;
    for (size_t i = 0; i < count; i++)
        if (!placed[i].item->data && placed[i].bytes > most)
            most = placed[i].bytes;
    void *buffer = most > 0 ? reid_alloc_aligned(most) : NULL;
    if (most > 0 && !buffer)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory: a tensor of '%s' has %zu bytes",
                         s->path, most);
    reid_status status = REID_OK;
    for (size_t i = 0; i < count && status == REID_OK; i++) {
        const reid_safetensors_item *item = placed[i].item;
        const void *data = item->data;
        if (placed[i].bytes == 0)
            continue;
        if (!data) {
            status = item->fill(item->user, buffer, placed[i].bytes, err);
            data = buffer;
        }
        if (status == REID_OK)
            status = sink_write(s, data, placed[i].bytes, err);
    }
    if (buffer)
        reid_free_aligned(buffer, most);
    return status;
}

static reid_status write_file(const char *path, const reid_str *header, const placed_item *placed,
                              size_t count, uint64_t *ret_size, uint64_t *ret_hash, reid_error *err)
{
    sink s = {.path = path, .fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
    if (s.fd < 0)
        return reid_fail_errno(err, errno, "cannot make '%s'", path);
    s.hash = reid_hash_new();
    uint64_t length = header->length;
    reid_status status = sink_write(&s, &length, sizeof length, err);
    if (status == REID_OK)
        status = sink_write(&s, header->data, header->length, err);
    if (status == REID_OK)
        status = write_data(&s, placed, count, err);
    if (status == REID_OK && fsync(s.fd) != 0)
        status = reid_fail_errno(err, errno, "cannot write '%s' to disk", path);
    if (close(s.fd) != 0 && status == REID_OK)
        status = reid_fail_errno(err, errno, "cannot write '%s'", path);
    if (status == REID_OK && ret_size)
        *ret_size = s.size;
    if (status == REID_OK && ret_hash)
        *ret_hash = reid_hash_digest(s.hash);
    reid_hash_free(s.hash);
    if (status != REID_OK)
        unlink(path);
    return status;
}

reid_status reid_safetensors_write(const char *path, const reid_safetensors_item *items,
                                   size_t count, const reid_safetensors_pair *metadata,
                                   size_t metadata_count, uint64_t *ret_size, uint64_t *ret_hash,
                                   reid_error *err)
{
    placed_item *placed = reid_xcalloc(count + 1, sizeof *placed);
    reid_str header = REID_STR_INIT;
    reid_status status = place_items(items, count, placed, err);
    if (status == REID_OK) {
        render_header(&header, placed, count, metadata, metadata_count);
        status = check_header(&header, path, placed, count, err);
    }
    if (status == REID_OK)
        status = write_file(path, &header, placed, count, ret_size, ret_hash, err);
    reid_str_fini(&header);
    free(placed);
    return status;
}
