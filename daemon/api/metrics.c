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
#define COMPARED_LIMIT 10000 /* names with patterns, for one page */
#define NAMES_LIMIT 256
#define NAME_BYTES 256
#define KEPT_PAGES 64

/* Of MetricsChunk on the wire: a row (and its length and bytes), and caught_up = true. */
enum { TAG_ROW = 1 << 3 | 2, MAX_HEAD_BYTES = 6 };
static const uint8_t caught_up_bytes[] = {2 << 3 | 0, 1};

typedef struct subscriber {
    reidd_listener listener; /* first */
    reidd_api *api;
    reid_rpc_call *call;
    reidd_turn turn;
    int attempt; /* the cursor: rows up to here are sent */
    int64_t seq;
    bool follow, caught_up;
    bool full; /* the queue was; on_drain goes on */
    REID_VEC(char *) names;
} subscriber;

/* The rows after (after_attempt, after_seq), or as many as one message takes. */
typedef struct page {
    char job_id[16];
    uint64_t row_adds; /* rows that had been stored when it was made */
    int after_attempt, attempt;
    int64_t after_seq, seq;
    bool more; /* rows are left: then it stays true */
    size_t rows;
    REID_VEC(uint8_t) bytes; /* a MetricsChunk, and behind it caught_up_bytes; none: no rows */
} page;

/* What went to those who want all scalars: others are likely at the same place. */
typedef struct reidd_pages {
    page kept[KEPT_PAGES];
    size_t next; /* to be made anew */
} reidd_pages;

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
    return kept > 0;
}

/* ---- pages ---- */

/* Room for a packed row behind the others. */
static uint8_t *add_row(page *p, size_t size)
{
    uint8_t head[MAX_HEAD_BYTES] = {TAG_ROW};
    size_t length = 1;
    for (size_t left = size; left > 0 || length == 1; left >>= 7)
        head[length++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    size_t begin = p->bytes.count;
    reid_vec_reserve(&p->bytes, begin + length + size + sizeof caught_up_bytes);
    memcpy(p->bytes.items + begin, head, length);
    p->bytes.count = begin + length + size;
    return p->bytes.items + begin + length;
}

/* Returns how many names were compared. */
static size_t add_filtered(const subscriber *s, page *p, const void *bytes, size_t size)
{
    ProtobufCMessage *message = NULL;
    if (reid_rpc_unpack(&reid__v1__metric_row__descriptor, bytes, size, 64u << 20, &message,
                        NULL) != REID_OK)
        return 0; /* it was packed by this program: cannot be */
    Reid__V1__MetricRow *row = (Reid__V1__MetricRow *)message;
    size_t compared = row->n_scalars * s->names.count;
    if (filter(s, row))
        reid__v1__metric_row__pack(row, add_row(p, reid__v1__metric_row__get_packed_size(row)));
    reid__v1__metric_row__free_unpacked(row, NULL);
    return compared;
}

typedef struct reading {
    const subscriber *s;
    page *page;
    size_t bytes, compared;
} reading;

static bool read_row(int attempt, int64_t seq, const void *bytes, size_t size, void *user)
{
    reading *r = user;
    page *p = r->page;
    if (p->rows == CHUNK_ROWS || r->compared > COMPARED_LIMIT ||
        (p->rows > 0 && r->bytes + size > REIDD_PIECE_BYTES)) {
        p->more = true;
        return false;
    }
    p->rows++;
    r->bytes += size;
    p->attempt = attempt;
    p->seq = seq;
    if (r->s->names.count == 0)
        memcpy(add_row(p, size), bytes, size);
    else
        r->compared += add_filtered(r->s, p, bytes, size);
    return true;
}

static reid_status read_page(const subscriber *s, page *p, reid_error *err)
{
    reading r = {.s = s, .page = p};
    memcpy(p->job_id, s->listener.job_id, sizeof p->job_id);
    p->row_adds = reidd_store_row_adds(s->api->store);
    p->after_attempt = p->attempt = s->attempt;
    p->after_seq = p->seq = s->seq;
    p->more = false;
    p->rows = p->bytes.count = 0;
    REID_TRY(reidd_store_row_each(s->api->store, s->listener.job_id, s->attempt, s->seq, read_row,
                                  &r, err));
    reid_vec_reserve(&p->bytes, p->bytes.count + sizeof caught_up_bytes);
    memcpy(p->bytes.items + p->bytes.count, caught_up_bytes, sizeof caught_up_bytes);
    return REID_OK;
}

static bool is_next(const page *p, const subscriber *s)
{
    return p->after_seq == s->seq && p->after_attempt == s->attempt &&
           (p->more || p->row_adds == reidd_store_row_adds(s->api->store)) &&
           strcmp(p->job_id, s->listener.job_id) == 0;
}

/* The page after the cursor of a subscriber who wants all scalars. */
static reid_status find_page(const subscriber *s, const page **ret_page, reid_error *err)
{
    reidd_api *api = s->api;
    if (!api->pages)
        api->pages = reid_xcalloc(1, sizeof *api->pages);
    for (size_t i = 0; i < KEPT_PAGES; i++)
        if (is_next(&api->pages->kept[i], s)) {
            *ret_page = &api->pages->kept[i];
            return REID_OK;
        }
    page *p = &api->pages->kept[api->pages->next];
    api->pages->next = (api->pages->next + 1) % KEPT_PAGES;
    reid_status status = read_page(s, p, err);
    if (status != REID_OK)
        p->job_id[0] = '\0';
    *ret_page = p;
    return status;
}

void reidd_api_fini(reidd_api *api)
{
    for (size_t i = 0; api->pages && i < KEPT_PAGES; i++)
        reid_vec_fini(&api->pages->kept[i].bytes);
    free(api->pages);
    api->pages = NULL;
    reidd_api_forget_picture(api);
    reidd_api_look_cancel(api);
    for (size_t i = 0; i < api->rows.count; i++)
        free(api->rows.items[i]);
    reid_vec_fini(&api->rows);
}

/* ---- sending ---- */

/* Moves the cursor when the page has gone out. */
static reid_status send_page(subscriber *s, const page *p)
{
    bool last = !p->more && !s->caught_up;
    size_t size = p->bytes.count + (last ? sizeof caught_up_bytes : 0);
    if (size > 0)
        REID_TRY(reid_rpc_call_send_packed(s->call, p->bytes.items, size));
    s->caught_up = s->caught_up || last;
    s->attempt = p->attempt;
    s->seq = p->seq;
    return REID_OK;
}

/* *ret_more: there was more than one page. */
static reid_status step(subscriber *s, bool *ret_more, reid_error *err)
{
    page own = {0};
    const page *p = &own;
    reid_status status = s->names.count == 0 ? find_page(s, &p, err) : read_page(s, &own, err);
    if (status == REID_OK) {
        *ret_more = p->more;
        status = send_page(s, p);
        if (status != REID_OK && status != REID_ERR_EXHAUSTED)
            reid_fail(err, status, "the metrics cannot be sent");
    }
    reid_vec_fini(&own.bytes);
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

/* One page. */
static void go_on(reidd_turn *turn)
{
    subscriber *s = REID_RPC_OWNER(turn, subscriber, turn);
    if (reid_rpc_call_ended(s->call) || s->full)
        return;
    /* Asked first: no row comes after a final state. */
    bool last_turn = !s->follow || has_ended(s), more = false;
    reid_error err = {0};
    reid_status status = step(s, &more, &err);
    if (status == REID_ERR_EXHAUSTED)
        s->full = true;
    else if (status != REID_OK)
        reid_rpc_call_fail(s->call, &err);
    else if (more)
        reidd_turn_post(s->api->turns, turn);
    else if (last_turn)
        reid_rpc_call_finish(s->call, REID_OK, NULL);
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    if (changes & (REIDD_CHANGED_ROWS | REIDD_CHANGED_END))
        reidd_turn_post(((subscriber *)listener)->api->turns, &((subscriber *)listener)->turn);
}

static void on_drain(reid_rpc_call *call)
{
    subscriber *s = reid_rpc_call_user(call);
    s->full = false;
    reidd_turn_post(s->api->turns, &s->turn);
}

static void on_close(reid_rpc_call *call)
{
    subscriber *s = reid_rpc_call_user(call);
    reidd_hub_remove(&s->listener);
    reidd_turn_cancel(&s->turn);
    for (size_t i = 0; i < s->names.count; i++)
        free(s->names.items[i]);
    reid_vec_fini(&s->names);
    free(s);
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
    reidd_listener listener = {.wake = on_change, .follows = true};
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
    reidd_turn_init(&s->turn, go_on);
    s->listener = listener;
    reidd_hub_add(api->hub, &s->listener, id);
    reid_rpc_call_set_user(call, s);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
    reidd_turn_post(api->turns, &s->turn);
}
