#include "select.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "duration.h"
#include "list.h"
#include "out/style.h"

#define PAGE 1000
#define LAST_STATE REID__V1__JOB_STATE__JOB_STATE_PAUSED

typedef struct selection {
    const reidctl_verb *verb;
    unsigned states;
    reidctl_list users; /* none: of everybody */
    char *self;         /* the only user, when he may not act on others' jobs; or NULL */
    int64_t before_ms;  /* they ended before; 0: whenever */
    REID_VEC(char *) ids;
    size_t waiting; /* the first ones of ids */
} selection;

/* ---- which ones ---- */

static bool is_wanted(const selection *s, const Reid__V1__Job *job)
{
    bool listed = s->users.parts.count == 0;
    if (!(s->states >> job->state & 1) || (s->self != NULL && strcmp(s->self, job->user) != 0))
        return false;
    if (job->state == REID__V1__JOB_STATE__JOB_STATE_PENDING &&
        !(job->held ? s->verb->held : s->verb->free))
        return false;
    if (s->before_ms > 0 && job->ended_ms >= s->before_ms)
        return false;
    for (size_t i = 0; i < s->users.parts.count && !listed; i++)
        listed = strcmp(s->users.parts.items[i], job->user) == 0;
    return listed;
}

static void take(selection *s, const Reid__V1__Job *job)
{
    if (!is_wanted(s, job))
        return;
    reid_vec_push(&s->ids, reid_xstrdup(job->id));
    if (job->state != REID__V1__JOB_STATE__JOB_STATE_PENDING)
        return;
    char *id = s->ids.items[s->ids.count - 1];
    memmove(s->ids.items + s->waiting + 1, s->ids.items + s->waiting,
            (s->ids.count - 1 - s->waiting) * sizeof id);
    s->ids.items[s->waiting++] = id;
}

/* *ret_last: the id of the last job, "" when there is none. */
static reid_status take_page(reidctl *ctl, selection *s, char ret_last[64], reid_error *err)
{
    Reid__V1__ListJobsRequest request = REID__V1__LIST_JOBS_REQUEST__INIT;
    Reid__V1__JobState states[LAST_STATE];
    ProtobufCMessage *answer = NULL;
    request.states = states;
    for (int state = 1; state <= (int)LAST_STATE; state++)
        if (s->states >> state & 1)
            states[request.n_states++] = (Reid__V1__JobState)state;
    request.limit = PAGE;
    request.before = ret_last;
    REID_TRY(reidctl_call(ctl, "List", &request.base, &reid__v1__list_jobs_response__descriptor,
                          &answer, err));
    const Reid__V1__ListJobsResponse *list = (const Reid__V1__ListJobsResponse *)answer;
    reid_status status = REID_OK;
    for (size_t i = 0; i < list->n_jobs && status == REID_OK; i++)
        if (strcmp(list->jobs[i]->id, ret_last) == 0)
            status =
                reid_fail(err, REID_ERR_UNSUPPORTED,
                          "reidd is older than this reidctl and does not list all of its jobs; "
                          "name them");
        else
            take(s, list->jobs[i]);
    snprintf(ret_last, 64, "%s", list->n_jobs > 0 ? list->jobs[list->n_jobs - 1]->id : "");
    protobuf_c_message_free_unpacked(answer, NULL);
    return status;
}

static reid_status take_all(reidctl *ctl, selection *s, reid_error *err)
{
    char last[64] = "";
    do
        REID_TRY(take_page(ctl, s, last, err));
    while (*last != '\0');
    return REID_OK;
}

/* ---- options ---- */

static bool has_selection(const reidctl_args *args)
{
    return args->all || args->user != NULL || args->state != NULL || args->older_than != NULL;
}

static reid_status parse_states(const char *text, unsigned *ret_states, reid_error *err)
{
    reidctl_list list = reidctl_list_split(text);
    reid_status status = REID_OK;
    *ret_states = 0;
    for (size_t i = 0; i < list.parts.count && status == REID_OK; i++) {
        int state = (int)LAST_STATE;
        while (state > 0 && strcasecmp(list.parts.items[i], reidctl_state_name(state)) != 0)
            state--;
        *ret_states |= 1u << state;
        if (state == 0)
            status =
                reid_fail(err, REID_ERR_INVALID,
                          "'%s' is not a state of a job; those are PENDING, STARTING, RUNNING, "
                          "PAUSED, SUCCEEDED, FAILED and CANCELLED",
                          list.parts.items[i]);
    }
    reidctl_list_fini(&list);
    if (status == REID_OK && *ret_states == 0)
        status = reid_fail(err, REID_ERR_INVALID, "--state needs states, such as PENDING,RUNNING");
    return status;
}

/* Who may act on his own jobs only means those by --all. */
static reid_status find_self(reidctl *ctl, selection *s, reid_error *err)
{
    Reid__V1__InfoRequest request = REID__V1__INFO_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    REID_TRY(reidctl_call_service(ctl, "SystemService", "Info", &request.base,
                                  &reid__v1__info_response__descriptor, &answer, err));
    const Reid__V1__InfoResponse *info = (const Reid__V1__InfoResponse *)answer;
    if (strcmp(info->role, "admin") != 0)
        s->self = reid_xstrdup(info->user);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REID_OK;
}

static reid_status read_options(reidctl *ctl, selection *s, reid_error *err)
{
    const reidctl_args *args = &ctl->args;
    double seconds;
    s->states = s->verb->states;
    s->users = reidctl_list_split(args->user);
    if (args->user != NULL && s->users.parts.count == 0)
        return reid_fail(err, REID_ERR_INVALID, "--user needs the name of a user");
    if (args->state != NULL) {
        REID_TRY(parse_states(args->state, &s->states, err));
        s->states &= s->verb->states;
        if (s->states == 0)
            return reid_fail(err, REID_ERR_INVALID, "no job that is %s can be %s", args->state,
                             s->verb->done);
    }
    if (args->older_than != NULL) {
        REID_TRY(reidctl_duration_parse(args->older_than, &seconds, err));
        s->before_ms = reid_clock_wall_ms() - (int64_t)(seconds * 1000);
        s->before_ms = REID_MAX(s->before_ms, 1);
    }
    return args->user == NULL ? find_self(ctl, s, err) : REID_OK;
}

/* ---- acting ---- */

/* Whether it is another one's fault: it has ended or was changed since it was chosen. */
static bool is_gone(reidctl *ctl, const selection *s, const char *id, const reid_error *why)
{
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    if (why->code == REID_ERR_NOT_FOUND)
        return true;
    if (why->code != REID_ERR_PRECONDITION || reidctl_get_job(ctl, id, &job, &err) != REID_OK)
        return err.code == REID_ERR_NOT_FOUND;
    bool gone = !is_wanted(s, job);
    reid__v1__job__free_unpacked(job, NULL);
    return gone;
}

static int act_on_selection(reidctl *ctl, const selection *s, int code)
{
    size_t done = 0, count = s->ids.count;
    for (size_t i = 0; i < s->ids.count; i++) {
        const char *id = s->ids.items[s->verb->oldest_first ? s->ids.count - 1 - i : i];
        reid_error err = {0};
        if (s->verb->act(ctl, id, &err) == REID_OK) {
            done++;
            continue;
        }
        if (is_gone(ctl, s, id, &err)) {
            count--;
            continue;
        }
        int this = reidctl_report(&err);
        code = code == REIDCTL_OK ? this : code;
        if (err.code == REID_ERR_UNAVAILABLE || err.code == REID_ERR_PERMISSION)
            break; /* the others would end the same way */
    }
    if (done < count)
        printf("%zu of ", done);
    printf("%zu job%s %s\n", count, count == 1 ? "" : "s", s->verb->done);
    return code;
}

static int act_on_words(reidctl *ctl, const reidctl_verb *verb)
{
    int code = REIDCTL_OK;
    for (int i = 0; i < ctl->word_count; i++) {
        reid_error err = {0};
        if (verb->act(ctl, ctl->words[i], &err) == REID_OK)
            continue;
        int this = reidctl_report(&err);
        code = code == REIDCTL_OK ? this : code;
        if (err.code == REID_ERR_UNAVAILABLE)
            break;
    }
    return code;
}

/* Those of the words that are wanted. */
static int take_words(reidctl *ctl, selection *s)
{
    int code = REIDCTL_OK;
    for (int i = 0; i < ctl->word_count; i++) {
        Reid__V1__Job *job = NULL;
        reid_error err = {0};
        if (reidctl_get_job(ctl, ctl->words[i], &job, &err) == REID_OK) {
            take(s, job);
            reid__v1__job__free_unpacked(job, NULL);
            continue;
        }
        int this = reidctl_report(&err);
        code = code == REIDCTL_OK ? this : code;
        if (err.code == REID_ERR_UNAVAILABLE)
            break;
    }
    return code;
}

static void selection_fini(selection *s)
{
    for (size_t i = 0; i < s->ids.count; i++)
        free(s->ids.items[i]);
    reid_vec_fini(&s->ids);
    reidctl_list_fini(&s->users);
    free(s->self);
}

int reidctl_act_on_jobs(reidctl *ctl, const reidctl_verb *verb)
{
    selection s = {.verb = verb};
    reid_error err = {0};
    int code = REIDCTL_OK;
    if (!has_selection(&ctl->args) && ctl->word_count > 0)
        return act_on_words(ctl, verb);
    reid_status status = REID_OK;
    if (!has_selection(&ctl->args))
        status = reid_fail(&err, REID_ERR_INVALID,
                           "%s needs JOB ... or a selection, such as --all or --user NAME; see "
                           "reidctl %s --help",
                           ctl->command->name, ctl->command->name);
    if (status == REID_OK)
        status = read_options(ctl, &s, &err);
    if (status == REID_OK && ctl->word_count > 0)
        code = take_words(ctl, &s);
    else if (status == REID_OK)
        status = take_all(ctl, &s, &err);
    if (status != REID_OK)
        code = reidctl_report(&err);
    else if (code != REIDCTL_UNREACHABLE)
        code = act_on_selection(ctl, &s, code);
    selection_fini(&s);
    return code;
}
