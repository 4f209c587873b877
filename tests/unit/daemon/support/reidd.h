/* A reidd of its own for each test: own folder, own socket, the scripted trainer. */
#ifndef REIDD_TEST_SUPPORT_H
#define REIDD_TEST_SUPPORT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"
#include "reid/v1/job.pb-c.h"
#include "reid/v1/system.pb-c.h"
#include "rpc/client.h"

typedef struct test_reidd {
    char *folder, *state_dir, *socket, *address;
    char *options[16]; /* further words of the command line; NULL ends */
    pid_t pid;
    reid_rpc_client *client;
    int jobs; /* submitted so far: the number of the newest job's folder */
} test_reidd;

/* cmocka's set-up and tear-down. The daemon is not started yet. */
int test_reidd_set_up(void **state);
/* Ends the daemon, which must end well, and kills all that its jobs have left. */
int test_reidd_tear_down(void **state);

void test_reidd_option(test_reidd *t, const char *word);
void test_reidd_start(test_reidd *t);                /* and connects */
void test_reidd_kill(test_reidd *t);                 /* -9 */
int test_reidd_stop(test_reidd *t, double within_s); /* TERM; the exit code */

/* The folder of the Nth job (OUTPUT_DIR), from 1. */
char *test_job_folder(test_reidd *t, int number);
/* Asks without judging: the answer and OK, or the refusal. */
reid_status test_submit_raw(test_reidd *t, const Reid__V1__SubmitRequest *request,
                            Reid__V1__Job **ret_job, reid_error *err);
/* Submits a job of this script; its id (caller frees). */
char *test_submit(test_reidd *t, const char *name, int ranks, const char *script);
Reid__V1__Job *test_get(test_reidd *t, const char *id);
/* Until it is in this state; fails with its detail when it takes minutes or ends otherwise. */
Reid__V1__Job *test_wait_state(test_reidd *t, const char *id, Reid__V1__JobState wanted);
void test_expect_state(test_reidd *t, const char *id, Reid__V1__JobState wanted);
reid_status test_cancel(test_reidd *t, const char *id, double grace_s, const char *reason,
                        reid_error *err);

/* Until job N has made this file, with its process id; and making one for it. */
pid_t test_wait_mark(test_reidd *t, int number, const char *name);
void test_give_mark(test_reidd *t, int number, const char *name);

/* All metric rows of a job from a cursor, as text: "1.1:0 1.2:1 …" (attempt.seq:iteration). */
char *test_metrics(test_reidd *t, const char *id, int attempt, int64_t seq, const char *name);
/* "1.1:0 1.2:1 … 1.N:N-1 " */
char *test_rows_expected(int attempt, int64_t first, int64_t last);
/* Neither a daemon nor any process of its jobs is there now. */
bool test_nothing_runs(test_reidd *t);
bool test_has_mpirun(void);

#endif
