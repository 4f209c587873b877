/* A row of scalars on its way into the spool. Its memory grows with the largest row and is kept, so
 * that a step does not allocate. Zero-initialise; stepping thread only. */
#ifndef REID_TRAIN_LINK_ROW_H
#define REID_TRAIN_LINK_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "events/event_storage.h"
#include "reid/v1/job.pb-c.h"

typedef struct reid_link_row_buffer {
    Reid__V1__Scalar *scalars;
    Reid__V1__Scalar **pointers;
    size_t capacity;
    uint8_t *bytes;
    size_t bytes_capacity;
} reid_link_row_buffer;

/* Packs a MetricRow with the time of now into buffer->bytes; returns its size. */
size_t reid_link_row_pack(reid_link_row_buffer *buffer, const reid_event_row *row, int attempt,
                          int64_t seq);
void reid_link_row_buffer_fini(reid_link_row_buffer *buffer);

#endif
