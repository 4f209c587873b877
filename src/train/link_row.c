#include "train/link_row.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"

static void make_room(reid_link_row_buffer *buffer, size_t count)
{
    if (count <= buffer->capacity)
        return;
    buffer->capacity = 2 * count;
    buffer->scalars = reid_xrealloc(buffer->scalars, buffer->capacity * sizeof *buffer->scalars);
    buffer->pointers = reid_xrealloc(buffer->pointers, buffer->capacity * sizeof *buffer->pointers);
}

size_t reid_link_row_pack(reid_link_row_buffer *buffer, const reid_event_row *row, int attempt,
                          int64_t seq)
{
    Reid__V1__MetricRow message = REID__V1__METRIC_ROW__INIT;
    make_room(buffer, row->count);
    for (size_t i = 0; i < row->count; i++) {
        Reid__V1__Scalar *scalar = &buffer->scalars[i];
        reid__v1__scalar__init(scalar);
        scalar->name = (char *)row->scalars[i].name;
        scalar->value = row->scalars[i].value;
        buffer->pointers[i] = scalar;
    }
    message.attempt = attempt;
    message.seq = seq;
    message.iteration = row->iter;
    message.epoch = (int32_t)row->epoch;
    message.wall_ms = reid_clock_wall_ms();
    message.n_scalars = row->count;
    message.scalars = buffer->pointers;
    size_t size = reid__v1__metric_row__get_packed_size(&message);
    if (size > buffer->bytes_capacity) {
        buffer->bytes_capacity = 2 * size;
        buffer->bytes = reid_xrealloc(buffer->bytes, buffer->bytes_capacity);
    }
    return reid__v1__metric_row__pack(&message, buffer->bytes);
}

void reid_link_row_buffer_fini(reid_link_row_buffer *buffer)
{
    free(buffer->scalars);
    free(buffer->pointers);
    free(buffer->bytes);
    *buffer = (reid_link_row_buffer){0};
}
