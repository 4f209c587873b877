#include "daemon/gpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/vec.h"

#define FRESH_MS 900 /* a sample this old is still served */

/* One question to the driver and its answer. While `busy` it belongs to the worker thread. */
typedef struct sample {
    reid_gpus *driver; /* opened by the first question */
    reid_gpu_info *infos;
    size_t count;
    reid_error err;
} sample;

struct reidd_gpus {
    uv_loop_t *loop;
    uv_work_t work;
    REID_VEC(char *) uuids;
    sample sample;
    bool busy, closing;
    int64_t taken_ms; /* monotonic; 0: never */
    reidd_gpu_look *waiting;
};

/* ---- the driver ---- */

static void ask_driver(sample *s)
{
    free(s->infos);
    s->infos = NULL;
    s->count = 0;
    s->err = (reid_error){0};
    if (!s->driver && reid_gpus_open(&s->driver, &s->err) != REID_OK)
        return;
    if (reid_gpus_sample(s->driver, &s->infos, &s->count, &s->err) == REID_OK)
        return;
    reid_gpus_close(s->driver); /* a driver that was reloaded needs a new start */
    s->driver = NULL;
}

/* ---- which are slots ---- */

static void offer(reidd_gpus *gpus, const char *uuid)
{
    if (!reidd_gpus_offers(gpus, uuid))
        reid_vec_push(&gpus->uuids, reid_xstrdup(uuid));
}

static void offer_all(reidd_gpus *gpus)
{
    const sample *s = &gpus->sample;
    for (size_t i = 0; i < s->count; i++) {
        if (*s->infos[i].uuid)
            offer(gpus, s->infos[i].uuid);
        else
            reid_log_warn("gpus not offered: %s", s->infos[i].trouble);
    }
}

static reid_status offer_listed(reidd_gpus *gpus, const char *choice, reid_error *err)
{
    const sample *s = &gpus->sample;
    REID_AUTOFREE char *list = reid_xstrdup(choice);
    char *rest = NULL;
    if (s->err.code != REID_OK)
        return reid_fail(err, s->err.code, "--gpus: %s", s->err.text);
    for (char *uuid = strtok_r(list, ",", &rest); uuid; uuid = strtok_r(NULL, ",", &rest)) {
        size_t i = 0;
        while (i < s->count && strcmp(s->infos[i].uuid, uuid) != 0)
            i++;
        if (i == s->count)
            return reid_fail(err, REID_ERR_NOT_FOUND,
                             "--gpus: this node has no GPU '%s'; it has %zu (nvidia-smi -L lists "
                             "them)",
                             uuid, s->count);
        offer(gpus, uuid);
    }
    return REID_OK;
}

static reid_status choose(reidd_gpus *gpus, const char *choice, reid_error *err)
{
    if (strcmp(choice, "none") == 0)
        return REID_OK; /* the driver is asked when somebody wants to know */
    ask_driver(&gpus->sample);
    gpus->taken_ms = reid_clock_mono_ns() / 1000000;
    if (strcmp(choice, "auto") != 0)
        return offer_listed(gpus, choice, err);
    offer_all(gpus);
    return REID_OK;
}

reid_status reidd_gpus_new(uv_loop_t *loop, const char *choice, reidd_gpus **ret_gpus,
                           reid_error *err)
{
    reidd_gpus *gpus = reid_xcalloc(1, sizeof *gpus);
    gpus->loop = loop;
    gpus->work.data = gpus;
    reid_status status = choose(gpus, choice, err);
    if (status != REID_OK) {
        reidd_gpus_close(gpus);
        return status;
    }
    *ret_gpus = gpus;
    return REID_OK;
}

static void destroy(reidd_gpus *gpus)
{
    for (size_t i = 0; i < gpus->uuids.count; i++)
        free(gpus->uuids.items[i]);
    reid_vec_fini(&gpus->uuids);
    reid_gpus_close(gpus->sample.driver);
    free(gpus->sample.infos);
    free(gpus);
}

void reidd_gpus_close(reidd_gpus *gpus)
{
    if (!gpus || gpus->closing)
        return;
    gpus->closing = true;
    while (gpus->waiting)
        reidd_gpus_look_cancel(gpus->waiting);
    if (!gpus->busy)
        destroy(gpus);
}

const char *reidd_gpus_type(const reidd_gpus *gpus)
{
    for (size_t i = 0; i < gpus->sample.count; i++)
        if (reidd_gpus_offers(gpus, gpus->sample.infos[i].uuid))
            return gpus->sample.infos[i].name;
    return NULL;
}

size_t reidd_gpus_count(const reidd_gpus *gpus)
{
    return gpus->uuids.count;
}

bool reidd_gpus_offers(const reidd_gpus *gpus, const char *uuid)
{
    for (size_t i = 0; i < gpus->uuids.count; i++)
        if (strcmp(gpus->uuids.items[i], uuid) == 0)
            return true;
    return false;
}

/* ---- who has which ---- */

int reidd_gpus_place(const char *list, const char *uuid)
{
    size_t length = strlen(uuid);
    int place = 0;
    for (const char *at = list; at && *at; place++) {
        size_t word = strcspn(at, ",");
        if (word == length && memcmp(at, uuid, length) == 0)
            return place;
        at += word + (at[word] == ',');
    }
    return -1;
}

static bool is_held(char *const *held, size_t held_count, const char *uuid)
{
    for (size_t i = 0; i < held_count; i++)
        if (reidd_gpus_place(held[i], uuid) >= 0)
            return true;
    return false;
}

char *reidd_gpus_pick(const reidd_gpus *gpus, char *const *held, size_t held_count, int count)
{
    reid_str list = REID_STR_INIT;
    int found = 0;
    for (size_t i = 0; i < gpus->uuids.count && found < count; i++)
        if (!is_held(held, held_count, gpus->uuids.items[i]))
            reid_str_addf(&list, "%s%s", found++ ? "," : "", gpus->uuids.items[i]);
    if (found == count)
        return reid_str_take(&list);
    reid_str_fini(&list);
    return NULL;
}

/* ---- looking ---- */

static void tell(reidd_gpus *gpus, reidd_gpu_look *look)
{
    const sample *s = &gpus->sample;
    const reidd_gpu_weather weather = {
        .infos = s->infos,
        .count = s->count,
        .driver = s->driver ? reid_gpus_driver(s->driver) : "",
        .note = s->err.code != REID_OK ? s->err.text : "",
    };
    look->gpus = NULL;
    look->done(look, &weather);
}

static void on_work(uv_work_t *work)
{
    reidd_gpus *gpus = work->data;
    ask_driver(&gpus->sample);
}

static void on_worked(uv_work_t *work, int status)
{
    reidd_gpus *gpus = work->data;
    gpus->busy = false;
    gpus->taken_ms = reid_clock_mono_ns() / 1000000;
    if (gpus->closing) {
        destroy(gpus);
        return;
    }
    while (gpus->waiting) {
        reidd_gpu_look *look = gpus->waiting;
        gpus->waiting = look->next;
        tell(gpus, look);
    }
}

void reidd_gpus_look(reidd_gpus *gpus, reidd_gpu_look *look)
{
    int64_t now_ms = reid_clock_mono_ns() / 1000000;
    if (!gpus->busy && gpus->taken_ms > 0 && now_ms - gpus->taken_ms < FRESH_MS) {
        tell(gpus, look);
        return;
    }
    look->gpus = gpus;
    look->next = gpus->waiting;
    gpus->waiting = look;
    if (gpus->busy)
        return;
    gpus->busy = uv_queue_work(gpus->loop, &gpus->work, on_work, on_worked) == 0;
    if (!gpus->busy) { /* only for arguments that make no sense */
        reidd_gpus_look_cancel(look);
        tell(gpus, look);
    }
}

void reidd_gpus_look_cancel(reidd_gpu_look *look)
{
    if (!look->gpus)
        return;
    reidd_gpu_look **at = &look->gpus->waiting;
    while (*at && *at != look)
        at = &(*at)->next;
    if (*at)
        *at = look->next;
    look->gpus = NULL;
}
