#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/json.h"
#include "checkpoint/safetensors_impl.h"

struct reid_safetensors {
    char *name;
    int fd; /* or -1 and */
    const char *memory;
    uint64_t size;       /* of the file */
    uint64_t data_start; /* in the file */
    reid_json *header;   /* owns the names */
    const reid_json *metadata;
    reid_safetensors_info *infos; /* by offset */
    const reid_safetensors_info **by_name;
    size_t count;
};

static reid_status corrupt(const reid_safetensors *f, reid_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static reid_status corrupt(const reid_safetensors *f, reid_error *err, const char *format, ...)
{
    reid_str fault = REID_STR_INIT;
    va_list args;
    va_start(args, format);
    reid_str_vaddf(&fault, format, args);
    va_end(args);
    reid_fail(err, REID_ERR_CORRUPT, "'%s' is not a sound safetensors file: %s", f->name,
              reid_str_text(&fault));
    reid_str_fini(&fault);
    return REID_ERR_CORRUPT;
}

/* The caller has checked that the range lies in the file. */
static reid_status read_at(const reid_safetensors *f, uint64_t offset, void *data, size_t bytes,
                           reid_error *err)
{
    if (f->fd < 0) {
        if (bytes > 0)
            memcpy(data, f->memory + offset, bytes);
        return REID_OK;
    }
    char *at = data;
    while (bytes > 0) {
        ssize_t got = pread(f->fd, at, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return reid_fail_errno(err, errno, "cannot read '%s'", f->name);
        if (got == 0)
            return corrupt(f, err, "it became shorter while it was read");
        at += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return REID_OK;
}

/* ---- header ---- */

static reid_status parse_dtype(const reid_safetensors *f, const reid_json *value,
                               reid_safetensors_info *info, reid_error *err)
{
    static const char *const others[] = {"BOOL", "I8",  "U16", "I16",     "F16",     "U32",
                                         "U64",  "F64", "C64", "F8_E4M3", "F8_E5M2", "F8_E8M0"};
    const char *name = reid_json_as_string(value, NULL);
    if (!name)
        return corrupt(f, err, "tensor '%s' has no type", info->name);
    for (int i = 0; i < REID_SAFETENSORS_DTYPES; i++) {
        if (strcmp(name, reid_safetensors_dtype_name((reid_safetensors_dtype)i)) == 0) {
            info->dtype = (reid_safetensors_dtype)i;
            return REID_OK;
        }
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strcmp(name, others[i]) == 0)
            return reid_fail(err, REID_ERR_UNSUPPORTED,
                             "'%s': tensor '%s' has the type %s, which is not supported; F32, "
                             "BF16, I32, I64 and U8 are",
                             f->name, info->name, name);
    }
    return corrupt(f, err, "tensor '%s' has the unknown type '%.32s'", info->name, name);
}

static reid_status parse_shape(const reid_safetensors *f, const reid_json *value,
                               reid_safetensors_info *info, reid_error *err)
{
    size_t rank = reid_json_count(value);
    if (reid_json_type_of(value) != REID_JSON_ARRAY || rank > REID_SAFETENSORS_MAX_RANK)
        return corrupt(f, err, "the shape of tensor '%s' is not a list of at most %d numbers",
                       info->name, REID_SAFETENSORS_MAX_RANK);
    info->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const reid_json *extent = reid_json_at(value, i);
        info->shape[i] = reid_json_as_int(extent, -1);
        if (reid_json_type_of(extent) != REID_JSON_INT || info->shape[i] < 0)
            return corrupt(f, err, "dimension %zu of tensor '%s' is not a count", i, info->name);
    }
    if (!reid_safetensors_shape_bytes(info->dtype, info->rank, info->shape, &info->bytes))
        return corrupt(f, err, "tensor '%s' is impossibly large", info->name);
    return REID_OK;
}

static reid_status parse_offsets(const reid_safetensors *f, const reid_json *value,
                                 reid_safetensors_info *info, reid_error *err)
{
    int64_t begin = reid_json_as_int(reid_json_at(value, 0), -1);
    int64_t end = reid_json_as_int(reid_json_at(value, 1), -1);
    bool ints = reid_json_type_of(value) == REID_JSON_ARRAY && reid_json_count(value) == 2 &&
                reid_json_type_of(reid_json_at(value, 0)) == REID_JSON_INT &&
                reid_json_type_of(reid_json_at(value, 1)) == REID_JSON_INT;
    if (!ints || begin < 0 || end < begin)
        return corrupt(f, err, "the offsets of tensor '%s' are not two ascending numbers",
                       info->name);
    if ((uint64_t)end > f->size - f->data_start)
        return corrupt(f, err, "tensor '%s' ends at byte %lld of the data, the file has %llu",
                       info->name, (long long)end, (unsigned long long)(f->size - f->data_start));
    if ((uint64_t)(end - begin) != info->bytes)
        return corrupt(f, err, "tensor '%s' takes %lld bytes, its type and shape need %zu",
                       info->name, (long long)(end - begin), info->bytes);
    info->offset = f->data_start + (uint64_t)begin;
    return REID_OK;
}

static reid_status parse_tensor(const reid_safetensors *f, const reid_json *value,
                                reid_safetensors_info *info, reid_error *err)
{
    if (reid_json_type_of(value) != REID_JSON_OBJECT || reid_json_count(value) != 3)
        return corrupt(f, err,
                       "the entry of tensor '%s' is not made of dtype, shape and data_offsets",
                       info->name);
    REID_TRY(parse_dtype(f, reid_json_get(value, "dtype"), info, err));
    REID_TRY(parse_shape(f, reid_json_get(value, "shape"), info, err));
    return parse_offsets(f, reid_json_get(value, "data_offsets"), info, err);
}

static reid_status check_metadata(const reid_safetensors *f, reid_error *err)
{
    if (reid_json_type_of(f->metadata) != REID_JSON_OBJECT)
        return corrupt(f, err, "its metadata are not an object");
    for (size_t i = 0; i < reid_json_count(f->metadata); i++) {
        const reid_json *value;
        reid_json_member(f->metadata, i, &value);
        if (reid_json_type_of(value) != REID_JSON_STRING)
            return corrupt(f, err, "its metadata are not all texts");
    }
    return REID_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const reid_safetensors_info *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const reid_safetensors_info *const *)a)->name,
                  (*(const reid_safetensors_info *const *)b)->name);
}

/* The tensors cover the data without overlap and without holes. */
static reid_status check_cover(const reid_safetensors *f, reid_error *err)
{
    uint64_t at = f->data_start;
    for (size_t i = 0; i < f->count; i++) {
        const reid_safetensors_info *info = &f->infos[i];
        if (info->offset < at)
            return corrupt(f, err, "tensors '%s' and '%s' overlap", f->infos[i - 1].name,
                           info->name);
        if (info->offset > at)
            return corrupt(f, err, "there is a hole before tensor '%s'", info->name);
        at += info->bytes;
    }
    if (at != f->size)
        return corrupt(f, err, "%llu bytes at its end belong to no tensor",
                       (unsigned long long)(f->size - at));
    return REID_OK;
}

static reid_status parse_entries(reid_safetensors *f, reid_error *err)
{
    size_t members = reid_json_count(f->header);
    f->infos = reid_alloc(members + 1, sizeof *f->infos);
    f->by_name = reid_alloc(members + 1, sizeof *f->by_name);
    if (!f->infos || !f->by_name)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory for the %zu tensors of '%s'",
                         members, f->name);
    for (size_t i = 0; i < members; i++) {
        const reid_json *value;
        const char *name = reid_json_member(f->header, i, &value);
        if (strcmp(name, REID_SAFETENSORS_METADATA) == 0) {
            f->metadata = value;
            REID_TRY(check_metadata(f, err));
            continue;
        }
        f->infos[f->count].name = name;
        REID_TRY(parse_tensor(f, value, &f->infos[f->count], err));
        f->count++;
    }
    qsort(f->infos, f->count, sizeof *f->infos, compare_offsets);
    for (size_t i = 0; i < f->count; i++)
        f->by_name[i] = &f->infos[i];
    qsort(f->by_name, f->count, sizeof *f->by_name, compare_names);
    return check_cover(f, err);
}

static reid_status parse_header(reid_safetensors *f, reid_error *err)
{
    uint64_t length;
    if (f->size < sizeof length)
        return corrupt(f, err, "it has only %llu bytes", (unsigned long long)f->size);
    REID_TRY(read_at(f, 0, &length, sizeof length, err));
    if (length > REID_SAFETENSORS_MAX_HEADER_BYTES)
        return corrupt(f, err, "its header would have %llu bytes, over the limit of %llu",
                       (unsigned long long)length,
                       (unsigned long long)REID_SAFETENSORS_MAX_HEADER_BYTES);
    if (length > f->size - sizeof length)
        return corrupt(f, err, "its header would have %llu bytes, the file has %llu",
                       (unsigned long long)length, (unsigned long long)f->size);
    f->data_start = sizeof length + length;
    char *text = reid_alloc(length + 1, 1);
    if (!text)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory for the header of '%s'", f->name);
    reid_error fault = {0};
    reid_status status = read_at(f, sizeof length, text, length, err);
    if (status == REID_OK && text[0] != '{')
        status = corrupt(f, err, "its header is not a JSON object");
    else if (status == REID_OK && reid_json_parse(text, length, &f->header, &fault) != REID_OK)
        status = corrupt(f, err, "its header is not JSON: %s", fault.text);
    free(text);
    REID_TRY(status);
    if (reid_json_type_of(f->header) != REID_JSON_OBJECT)
        return corrupt(f, err, "its header is not a JSON object");
    return parse_entries(f, err);
}

/* ---- life ---- */

static reid_status open_file(reid_safetensors *f, const char *path, reid_error *err)
{
    struct stat info;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    if (fstat(f->fd, &info) != 0)
        return reid_fail_errno(err, errno, "cannot read '%s'", path);
    if (!S_ISREG(info.st_mode))
        return reid_fail(err, REID_ERR_INVALID, "cannot read '%s': it is not a regular file", path);
    f->size = (uint64_t)info.st_size;
    return REID_OK;
}

static reid_status finish_open(reid_safetensors *own_file, reid_status status,
                               reid_safetensors **ret_file, reid_error *err)
{
    if (status == REID_OK)
        status = parse_header(own_file, err);
    if (status != REID_OK) {
        reid_safetensors_free(own_file);
        return status;
    }
    *ret_file = own_file;
    return REID_OK;
}

reid_status reid_safetensors_open(const char *path, reid_safetensors **ret_file, reid_error *err)
{
    reid_safetensors *f = reid_xcalloc(1, sizeof *f);
    f->name = reid_xstrdup(path);
    f->fd = -1;
    return finish_open(f, open_file(f, path, err), ret_file, err);
}

reid_status reid_safetensors_open_memory(const void *data, size_t size, const char *name,
                                         reid_safetensors **ret_file, reid_error *err)
{
    reid_safetensors *f = reid_xcalloc(1, sizeof *f);
    f->name = reid_xstrdup(name);
    f->fd = -1;
    f->memory = data;
    f->size = size;
    return finish_open(f, REID_OK, ret_file, err);
}

void reid_safetensors_free(reid_safetensors *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    reid_json_free(file->header);
    free(file->infos);
    free(file->by_name);
    free(file->name);
    free(file);
}

/* ---- access ---- */

size_t reid_safetensors_count(const reid_safetensors *file)
{
    return file->count;
}

const reid_safetensors_info *reid_safetensors_at(const reid_safetensors *file, size_t index)
{
    REID_ASSERT(index < file->count);
    return &file->infos[index];
}

const reid_safetensors_info *reid_safetensors_find(const reid_safetensors *file, const char *name)
{
    reid_safetensors_info wanted = {.name = name};
    const reid_safetensors_info *key = &wanted;
    const reid_safetensors_info **found =
        bsearch(&key, file->by_name, file->count, sizeof *file->by_name, compare_names);
    return found ? *found : NULL;
}

const char *reid_safetensors_metadata(const reid_safetensors *file, const char *key)
{
    return reid_json_as_string(reid_json_get(file->metadata, key), NULL);
}

reid_status reid_safetensors_read(const reid_safetensors *file, const reid_safetensors_info *info,
                                  void *ret_data, reid_error *err)
{
    return read_at(file, info->offset, ret_data, info->bytes, err);
}

reid_status reid_safetensors_read_exact(const reid_safetensors *file, const char *name,
                                        reid_safetensors_dtype dtype, int rank,
                                        const int64_t *shape, void *ret_data, reid_error *err)
{
    const reid_safetensors_info *info = reid_safetensors_find(file, name);
    if (!info)
        return reid_fail(err, REID_ERR_NOT_FOUND, "'%s' has no tensor '%s'", file->name, name);
    bool same = info->dtype == dtype && info->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = info->shape[i] == shape[i];
    if (same)
        return reid_safetensors_read(file, info, ret_data, err);
    reid_str has = REID_STR_INIT, needs = REID_STR_INIT;
    reid_safetensors_shape_text(&has, info->rank, info->shape);
    reid_safetensors_shape_text(&needs, rank, shape);
    reid_fail(err, REID_ERR_INVALID, "'%s': tensor '%s' is %s %s, %s %s is needed", file->name,
              name, reid_safetensors_dtype_name(info->dtype), reid_str_text(&has),
              reid_safetensors_dtype_name(dtype), reid_str_text(&needs));
    reid_str_fini(&has);
    reid_str_fini(&needs);
    return REID_ERR_INVALID;
}
