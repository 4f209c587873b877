#include "daemon/hub/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

static void on_time(uv_timer_t *timer);

void reidd_hub_init(reidd_hub *hub, uv_loop_t *loop)
{
    *hub = (reidd_hub){.processors = uv_available_parallelism()};
    hub->timer = reid_xcalloc(1, sizeof *hub->timer);
    uv_timer_init(loop, hub->timer);
    hub->timer->data = hub;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

void reidd_hub_close(reidd_hub *hub)
{
    if (hub->timer)
        uv_close((uv_handle_t *)hub->timer, on_closed);
    hub->timer = NULL;
    reid_vec_fini(&hub->news);
}

uint64_t reidd_hub_pace_ms(const reidd_hub *hub)
{
    uint64_t per_second = (uint64_t)REIDD_NEWS_PER_SECOND * REID_MAX(hub->processors, 1u);
    return REID_MIN(hub->followers * 1000 / per_second, (uint64_t)REIDD_PACE_LIMIT_MS);
}

/* ---- listeners ---- */

static void count(reidd_hub *hub, const reidd_listener *listener, int by)
{
    hub->listeners += (size_t)by;
    hub->followers += listener->follows ? (size_t)by : 0;
    for (reidd_hub_count *c = listener->count; c; c = c->whole)
        c->value += by;
}

void reidd_hub_add(reidd_hub *hub, reidd_listener *listener, const char *job_id)
{
    snprintf(listener->job_id, sizeof listener->job_id, "%s", job_id);
    listener->hub = hub;
    listener->before = NULL;
    listener->after = hub->first;
    if (hub->first)
        hub->first->before = listener;
    hub->first = listener;
    count(hub, listener, 1);
}

void reidd_hub_remove(reidd_listener *listener)
{
    reidd_hub *hub = listener->hub;
    if (!hub)
        return;
    if (hub->next == listener)
        hub->next = listener->after;
    if (listener->before)
        listener->before->after = listener->after;
    else
        hub->first = listener->after;
    if (listener->after)
        listener->after->before = listener->before;
    listener->hub = NULL;
    count(hub, listener, -1);
    listener->before = listener->after = NULL;
}

/* ---- news ---- */

static reidd_news *find_news(reidd_hub *hub, const char *job_id)
{
    for (size_t i = 0; i < hub->news.count; i++)
        if (strcmp(hub->news.items[i].job_id, job_id) == 0)
            return &hub->news.items[i];
    return NULL;
}

typedef enum { ALL, FOLLOWERS, OTHERS } audience;

static void wake(reidd_hub *hub, audience who, const char *job_id, unsigned changes)
{
    reidd_listener *listener = hub->first;
    hub->round++;
    while (listener) {
        hub->next = listener->after;
        if ((who == ALL || listener->follows == (who == FOLLOWERS)) &&
            strcmp(listener->job_id, job_id) == 0)
            listener->wake(listener, changes);
        listener = hub->next;
    }
}

void reidd_hub_publish(reidd_hub *hub, const char *job_id, unsigned changes)
{
    reidd_news *gathered = find_news(hub, job_id);
    if (gathered) {
        changes |= gathered->changes;
        *gathered = hub->news.items[--hub->news.count];
    }
    wake(hub, ALL, job_id, changes);
}

static void on_time(uv_timer_t *timer)
{
    reidd_hub *hub = timer->data;
    hub->told_ms = uv_now(timer->loop);
    while (hub->news.count > 0) {
        reidd_news news = hub->news.items[--hub->news.count];
        wake(hub, FOLLOWERS, news.job_id, news.changes);
    }
}

void reidd_hub_tell(reidd_hub *hub, const char *job_id, unsigned changes)
{
    if (!hub->timer || hub->followers == 0) {
        reidd_hub_publish(hub, job_id, changes);
        return;
    }
    reidd_news *gathered = find_news(hub, job_id);
    if (gathered) {
        gathered->changes |= changes;
    } else {
        reidd_news news = {.changes = changes};
        memcpy(news.job_id, job_id, REID_MIN(strlen(job_id), sizeof news.job_id - 1));
        reid_vec_push(&hub->news, news);
    }
    wake(hub, OTHERS, job_id, changes);
    if (uv_is_active((uv_handle_t *)hub->timer))
        return;
    uint64_t due = hub->told_ms + reidd_hub_pace_ms(hub), now = uv_now(hub->timer->loop);
    uv_timer_start(hub->timer, on_time, due > now ? due - now : 0, 0);
}
