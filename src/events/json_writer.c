#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "events/async_file.h"
#include "events/fresh.h"
#include "events/text.h"
#include "events/writer.h"

typedef struct json_writer {
    reid_event_writer base;
    reid_async_file *file; /* NULL once closed */
    reid_fresh_list fresh; /* kept from write to write, as the text: a step allocates nothing */
    reid_str text;
} json_writer;

static void add_key(reid_str *line, const char *name)
{
    if (line->data[line->length - 1] != '{')
        reid_str_add(line, ", ");
    reid_event_text_add_string(line, name);
    reid_str_add(line, ": ");
}

static void add_iteration(reid_str *line, int64_t iter)
{
    add_key(line, "iteration");
    reid_str_addf(line, "%" PRId64, iter);
}

/* One line for the scalars of one iteration. A scalar called "iteration" gives way to the number.
 */
static size_t add_line(reid_str *out, const reid_fresh_scalar *scalars, size_t count)
{
    int64_t iter = scalars[0].iter;
    bool iteration_done = false;
    size_t used = 0;
    reid_str_add_char(out, '{');
    for (; used < count && scalars[used].iter == iter; used++) {
        int order = strcmp(scalars[used].name, "iteration");
        if (order >= 0 && !iteration_done) {
            add_iteration(out, iter);
            iteration_done = true;
        }
        if (order == 0)
            continue;
        add_key(out, scalars[used].name);
        reid_event_text_add_double(out, scalars[used].value);
    }
    if (!iteration_done)
        add_iteration(out, iter);
    reid_str_add(out, "}\n");
    return used;
}

static reid_status json_write(reid_event_writer *writer, reid_event_storage *storage,
                              reid_error *err)
{
    json_writer *json = (json_writer *)writer;
    reid_fresh_list *fresh = &json->fresh;
    reid_event_storage_fresh(storage, writer->written, REID_EVENT_WINDOW, fresh);
    reid_str_clear(&json->text);
    for (size_t used = 0; used < fresh->count;)
        used += add_line(&json->text, fresh->items + used, fresh->count - used);
    reid_status status = reid_async_file_write(json->file, json->text.data, json->text.length, err);
    if (status == REID_OK)
        writer->written = reid_event_storage_sequence(storage);
    return status;
}

static reid_status json_flush(reid_event_writer *writer, reid_error *err)
{
    return reid_async_file_flush(((json_writer *)writer)->file, err);
}

static reid_status json_close(reid_event_writer *writer, reid_error *err)
{
    json_writer *json = (json_writer *)writer;
    reid_async_file *file = json->file;
    json->file = NULL;
    return reid_async_file_close(file, err);
}

static void json_free(reid_event_writer *writer)
{
    json_writer *json = (json_writer *)writer;
    if (json->file)
        reid_async_file_close(json->file, NULL);
    reid_vec_fini(&json->fresh);
    reid_str_fini(&json->text);
    free(json);
}

static const reid_event_writer_impl JSON = {
    .name = "json",
    .write = json_write,
    .flush = json_flush,
    .close = json_close,
    .free = json_free,
};

reid_status reid_json_writer_open(const char *path, reid_event_writer **ret_writer, reid_error *err)
{
    reid_async_file *file;
    REID_TRY(reid_async_file_open(path, true, &file, err));
    json_writer *json = reid_xcalloc(1, sizeof *json);
    json->base.impl = &JSON;
    json->file = file;
    reid_str_reserve(&json->text, REID_EVENT_TEXT_BYTES);
    *ret_writer = &json->base;
    return REID_OK;
}
