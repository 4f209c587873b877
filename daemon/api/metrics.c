/* JobService/Metrics: every subscriber is a cursor into the store. It reads on when rows have been
 * stored and its own queue has room, so that none is left out or doubled, and a slow one holds up
 * nobody but itself. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/vec.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"
#include "rpc/unpack.h"

#define CHUNK_ROWS 256
#define CHUNK_BYTES (256u << 10)
#define CHUNKS_PER_TURN 16 /* then others have the loop */
#define NAMES_LIMIT 256
#define NAME_BYTES 256

typedef struct subscriber {
    reidd_listener listener; /* first */
    reidd_api *api;
    reid_rpc_call *call;
    uv_timer_t again;
    int attempt; /* the cursor: rows up to here are sent */
    int64_t seq;
    bool follow, caught_up;
    bool full; /* the queue was; on_drain goes on */
    REID_VEC(char *) names;
} subscriber;

/* All rows after (after_attempt, after_seq), as they were after `row_adds` rows had been stored. */
typedef struct reidd_page {
    char job_id[16];
    uint64_t row_adds;
    int after_attempt, attempt;
    int64_t after_seq, seq;
    size_t size;
    uint8_t *bytes; /* a MetricsChunk; empty: there are no rows */
} reidd_page;

/* A part of the rows after the cursor. */
typedef struct page {
    subscriber *s;
    REID_VEC(Reid__V1__MetricRow *) rows;
    size_t seen, bytes;
    bool more; /* rows are left */
    int attempt;
    int64_t seq;
} page;

static bool is_wanted(const subscriber *s, const char *name)
{
    for (size_t i = 0; i < s->names.count; i++)
        if (fnmatch(s->names.items[i], name, 0) == 0)
            return true;
    return s->names.count == 0;
}

/* Removes the scalars that nobody asked for. False when none is left. */
static bool filter(const subscriber *s, Reid__V1__MetricRow *row)
{
    size_t kept = 0;
    for (size_t i = 0; i < row->n_scalars; i++) {
        if (is_wanted(s, row->scalars[i]->name))
            row->scalars[kept++] = row->scalars[i];
        else
            reid__v1__scalar__free_unpacked(row->scalars[i], NULL);
    }
    row->n_scalars = kept;
    return kept > 0 || s->names.count == 0;
}

static bool read_row(int attempt, int64_t seq, const void *bytes, size_t size, void *user)
{
    page *p = user;
    if (p->seen == CHUNK_ROWS || p->bytes > CHUNK_BYTES) {
        p->more = true;
        return false;
    }
    p->seen++;
    p->bytes += size;
    p->attempt = attempt;
    p->seq = seq;
    ProtobufCMessage *message = NULL;
    if (reid_rpc_unpack(&reid__v1__metric_row__descriptor, bytes, size, 64u << 20, &message,
                        NULL) != REID_OK)
        return true; /* it was packed by this program: cannot be */
    Reid__V1__MetricRow *row = (Reid__V1__MetricRow *)message;
    if (filter(p->s, row))
        reid_vec_push(&p->rows, row);
    else
        reid__v1__metric_row__free_unpacked(row, NULL);
    return true;
}

/* ---- pages for all ---- */

static bool follows_all(const subscriber *s)
{
    return s->follow && s->caught_up && s->names.count == 0;
}

static void keep_page(const page *p)
{
    reidd_api *api = p->s->api;
    if (!api->page)
        api->page = reid_xcalloc(1, sizeof *api->page);
    reidd_page *kept = api->page;
    Reid__V1__MetricsChunk chunk = REID__V1__METRICS_CHUNK__INIT;
    chunk.n_rows = p->rows.count;
    chunk.rows = p->rows.items;
    kept->size = protobuf_c_message_get_packed_size(&chunk.base);
    kept->bytes = reid_xrealloc(kept->bytes, kept->size + 1);
    protobuf_c_message_pack(&chunk.base, kept->bytes);
    memcpy(kept->job_id, p->s->listener.job_id, sizeof kept->job_id);
    kept->row_adds = reidd_store_row_adds(api->store);
    kept->after_attempt = p->s->attempt;
    kept->after_seq = p->s->seq;
    kept->attempt = p->attempt;
    kept->seq = p->seq;
}

/* The page for this subscriber, if it is the one that was kept; else NULL. */
static const reidd_page *find_page(const subscriber *s)
{
    const reidd_page *kept = s->api->page;
    bool same = kept && follows_all(s) && kept->after_seq == s->seq &&
                kept->after_attempt == s->attempt &&
                kept->row_adds == reidd_store_row_adds(s->api->store) &&
                strcmp(kept->job_id, s->listener.job_id) == 0;
    return same ? kept : NULL;
}

void reidd_api_fini(reidd_api *api)
{
    if (api->page)
        free(api->page->bytes);
    free(api->page);
    api->page = NULL;
    reidd_api_forget_picture(api);
    reidd_api_look_cancel(api);
    for (size_t i = 0; i < api->rows.count; i++)
        free(api->rows.items[i]);
    reid_vec_fini(&api->rows);
}

/* ---- sending ---- */

static reid_status send_kept(subscriber *s, const reidd_page *kept)
{
    if (kept->size > 0)
        REID_TRY(reid_rpc_call_send_packed(s->call, kept->bytes, kept->size));
    s->attempt = kept->attempt;
    s->seq = kept->seq;
    return REID_OK;
}

/* Sends a page; moves the cursor when it has gone out. */
static reid_status send_page(subscriber *s, const page *p)
{
    bool last = !p->more && !s->caught_up;
    if (follows_all(s) && !p->more) {
        keep_page(p);
        return send_kept(s, s->api->page);
    }
    if (p->rows.count > 0 || last) {
        Reid__V1__MetricsChunk chunk = REID__V1__METRICS_CHUNK__INIT;
        chunk.n_rows = p->rows.count;
        chunk.rows = p->rows.items;
        chunk.caught_up = last;
        REID_TRY(reid_rpc_call_send(s->call, &chunk.base));
    }
    s->caught_up = s->caught_up || last;
    s->attempt = p->attempt;
    s->seq = p->seq;
    return REID_OK;
}

static reid_status read_and_send(subscriber *s, bool *ret_more, reid_error *err)
{
    page p = {.s = s, .attempt = s->attempt, .seq = s->seq};
    reid_status status = reidd_store_row_each(s->api->store, s->listener.job_id, s->attempt, s->seq,
                                              read_row, &p, err);
    if (status == REID_OK)
        status = send_page(s, &p);
    for (size_t i = 0; i < p.rows.count; i++)
        reid__v1__metric_row__free_unpacked(p.rows.items[i], NULL);
    reid_vec_fini(&p.rows);
    *ret_more = p.more;
    return status;
}

/* *ret_more: there was more than one page. */
static reid_status step(subscriber *s, bool *ret_more, reid_error *err)
{
    const reidd_page *kept = find_page(s);
    *ret_more = false;
    reid_status status = kept ? send_kept(s, kept) : read_and_send(s, ret_more, err);
    if (status != REID_OK && status != REID_ERR_EXHAUSTED && err->code == REID_OK)
        reid_fail(err, status, "the metrics cannot be sent");
    return status;
}

static bool has_ended(const subscriber *s)
{
    reidd_job_view view = {0};
    if (reidd_manager_is_open(s->api->manager, s->listener.job_id))
        return false;
    if (reidd_manager_view(s->api->manager, s->listener.job_id, &view, NULL) != REID_OK)
        return true;
    bool final = reidd_state_is_final(view.job.state);
    reidd_job_view_fini(&view);
    return final;
}

static void go_on(subscriber *s);

static void on_again(uv_timer_t *timer)
{
    go_on(timer->data);
}

static void go_on(subscriber *s)
{
    if (reid_rpc_call_ended(s->call) || s->full)
        return;
    /* Asked first: no row comes after a final state. */
    bool last_turn = !s->follow || has_ended(s);
    reid_error err = {0};
    for (int i = 0; i < CHUNKS_PER_TURN; i++) {
        bool more = false;
        reid_status status = step(s, &more, &err);
        if (status == REID_ERR_EXHAUSTED) {
            s->full = true;
            return;
        }
        if (status != REID_OK) {
            reid_rpc_call_fail(s->call, &err);
            return;
        }
        if (more)
            continue;
        if (last_turn)
            reid_rpc_call_finish(s->call, REID_OK, NULL);
        return;
    }
    uv_timer_start(&s->again, on_again, 0, 0);
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    if (changes & (REIDD_CHANGED_ROWS | REIDD_CHANGED_END))
        go_on((subscriber *)listener);
}

static void on_drain(reid_rpc_call *call)
{
    subscriber *s = reid_rpc_call_user(call);
    s->full = false;
    go_on(s);
}

static void on_timer_closed(uv_handle_t *handle)
{
    subscriber *s = handle->data;
    for (size_t i = 0; i < s->names.count; i++)
        free(s->names.items[i]);
    reid_vec_fini(&s->names);
    free(s);
}

static void on_close(reid_rpc_call *call)
{
    subscriber *s = reid_rpc_call_user(call);
    reidd_hub_remove(&s->listener);
    uv_close((uv_handle_t *)&s->again, on_timer_closed);
}

static reid_status check_request(const Reid__V1__MetricsRequest *in, reid_error *err)
{
    if (in->attempt < 0 || in->seq < 0)
        return reid_fail(err, REID_ERR_INVALID, "the cursor (%d, %lld) must not be negative",
                         in->attempt, (long long)in->seq);
    if (in->n_names > NAMES_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "at most %d names can be asked for", NAMES_LIMIT);
    for (size_t i = 0; i < in->n_names; i++)
        if (strlen(in->names[i]) > NAME_BYTES)
            return reid_fail(err, REID_ERR_INVALID, "a metric's name has at most %d bytes",
                             NAME_BYTES);
    return REID_OK;
}

void reidd_api_metrics(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__MetricsRequest *in = (const Reid__V1__MetricsRequest *)message;
    char id[16];
    reid_error err = {0};
    reid_status status = check_request(in, &err);
    reidd_listener listener = {.wake = on_change};
    if (status == REID_OK)
        status = reidd_manager_find(api->manager, in->id, id, &err);
    if (status == REID_OK)
        status = reidd_api_subscribe(api, call, &listener, &err);
    if (status != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    subscriber *s = reid_xcalloc(1, sizeof *s);
    s->api = api;
    s->call = call;
    s->attempt = in->attempt;
    s->seq = in->seq;
    s->follow = in->follow;
    for (size_t i = 0; i < in->n_names; i++)
        reid_vec_push(&s->names, reid_xstrdup(in->names[i]));
    s->again.data = s;
    uv_timer_init(api->loop, &s->again);
    s->listener = listener;
    reidd_hub_add(api->hub, &s->listener, id);
    reid_rpc_call_set_user(call, s);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
    go_on(s);
}
