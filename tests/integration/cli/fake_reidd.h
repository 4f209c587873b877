/* A daemon without jobs: JobService, SystemService, ControlService and HookService on a Unix
 * socket, told what to say line by line. For tests of reidctl.
 *
 * A store holds jobs, rows and logs that the script puts in; calls look into it, and streams that
 * follow are told what is new. Dropping the connections leaves the store as it is, so that the
 * daemon can come back. One thread. */
#ifndef REID_TESTS_FAKE_REIDD_H
#define REID_TESTS_FAKE_REIDD_H

#include "base/json.h"
#include "base/vec.h"
#include "reid/v1/control.pb-c.h"
#include "reid/v1/hook.pb-c.h"
#include "reid/v1/job.pb-c.h"
#include "rpc/server.h"

typedef struct fake_log {
    int32_t rank;
    bool from_stderr;
    reid_str text;
} fake_log;

typedef struct fake_job {
    Reid__V1__Job *job;
    REID_VEC(Reid__V1__MetricRow *) rows;
    REID_VEC(fake_log) logs;
    REID_VEC(Reid__V1__JobEvent *) events;
    REID_VEC(Reid__V1__Hook *) hooks;
} fake_job;

/* A call of Watch, Metrics or Logs that is open. */
typedef struct fake_stream {
    reid_rpc_call *call;
    fake_job *of;
    size_t sent_rows;           /* of of->rows */
    size_t sent_events;         /* of of->events */
    REID_VEC(size_t) sent_logs; /* bytes of each of of->logs */
    ProtobufCMessage *request;
    bool follow;
} fake_stream;

/* The newest call of Attach, and what has come on it. */
typedef struct fake_attach {
    reid_rpc_call *call; /* NULL once it is closed */
    Reid__V1__RegisterHook *request;
    reid_str verdicts; /* JSON, separated by commas */
    size_t verdict_count;
    bool half_closed;
    reid_status status; /* of one that is closed */
} fake_attach;

typedef struct fake_reidd {
    uv_loop_t *loop;
    const char *path;
    reid_rpc_server *server;   /* NULL while it is away */
    REID_VEC(fake_job *) jobs; /* oldest first */
    REID_VEC(fake_stream *) streams;
    char *failing_path;  /* the next call of this method fails … */
    reid_status failure; /* … so */
    char *sentence;
    ProtobufCMessage *last_request;
    fake_attach attach;
} fake_reidd;

extern const reid_rpc_method fake_hook_methods[]; /* HookService and ControlService */
extern const size_t fake_hook_method_count;

void fake_reidd_fini(fake_reidd *reidd);
reid_status fake_reidd_listen(fake_reidd *reidd, reid_error *err);
void fake_reidd_drop(fake_reidd *reidd); /* at once, as when it is killed */

fake_job *fake_reidd_find(fake_reidd *reidd, const char *word); /* id, beginning of one, or name */
/* Adds a job or replaces the one with its id; taken over. */
void fake_reidd_put_job(fake_reidd *reidd, Reid__V1__Job *own_job);
void fake_reidd_put_row(fake_job *of, Reid__V1__MetricRow *own_row);
void fake_reidd_put_log(fake_job *of, int32_t rank, bool from_stderr, const char *text);
/* Sends what is new to the streams; those of ended jobs end. */
void fake_reidd_tell(fake_reidd *reidd);
/* The streams get `missed` instead of the rows that they have not been sent. */
void fake_reidd_skip_rows(fake_reidd *reidd, fake_job *of);
/* Ends all streams with OK, whatever the jobs do. */
void fake_reidd_end_streams(fake_reidd *reidd);

/* ---- for the services in other files ---- */

/* Keeps the request, and fails the call when the script or a missing job wants it so. */
bool fake_reidd_begin(reid_rpc_call *call, fake_reidd *reidd, const ProtobufCMessage *message,
                      const char *id, fake_job **ret_of);
ProtobufCMessage *fake_reidd_copy(const ProtobufCMessage *message);
void fake_attach_fini(fake_attach *attach);
/* Obeys the verbs of Attach and prints the answer; false for other verbs, and when there is no such
 * call. */
bool fake_attach_obey(fake_attach *attach, const char *verb, const reid_json *line);
/* An object of all fields that have another value than their default. Enums are numbers. */
void fake_json_message(reid_json_writer *w, const ProtobufCMessage *message);

#endif
