#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/control_private.h"

struct reid_control_queue {
    pthread_mutex_t mutex;
    REID_VEC(reid_control_request) list;
};

void reid_control_request_fini(reid_control_request *request)
{
    free(request->id);
    free(request->kind);
    free(request->who);
    free(request->reason);
    for (size_t i = 0; i < request->setting_count; i++) {
        free(request->settings[i].name);
        free(request->settings[i].value);
    }
    free(request->settings);
    *request = (reid_control_request){0};
}

reid_control_queue *reid_control_queue_new(void)
{
    reid_control_queue *queue = reid_xcalloc(1, sizeof *queue);
    pthread_mutex_init(&queue->mutex, NULL);
    return queue;
}

void reid_control_queue_free(reid_control_queue *queue)
{
    if (!queue)
        return;
    for (size_t i = 0; i < queue->list.count; i++)
        reid_control_request_fini(&queue->list.items[i]);
    reid_vec_fini(&queue->list);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

reid_status reid_control_queue_push(reid_control_queue *queue, reid_control_request *own_request,
                                    reid_error *err)
{
    bool known = false;
    pthread_mutex_lock(&queue->mutex);
    for (size_t i = 0; i < queue->list.count; i++)
        known |= strcmp(queue->list.items[i].id, own_request->id) == 0;
    bool full = queue->list.count >= REID_CONTROL_QUEUE_LIMIT;
    if (!known && !full) {
        reid_vec_push(&queue->list, *own_request);
        *own_request = (reid_control_request){0};
    }
    pthread_mutex_unlock(&queue->mutex);
    reid_control_request_fini(own_request);
    if (full && !known)
        return reid_fail(err, REID_ERR_EXHAUSTED, "%d requests wait already for the next step",
                         REID_CONTROL_QUEUE_LIMIT);
    return REID_OK;
}

reid_control_request reid_control_queue_take(reid_control_queue *queue)
{
    reid_control_request request = {0};
    pthread_mutex_lock(&queue->mutex);
    if (queue->list.count > 0) {
        request = queue->list.items[0];
        reid_vec_remove(&queue->list, 0);
    }
    pthread_mutex_unlock(&queue->mutex);
    return request;
}
