/* reid-train: one rank of a training. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/log.h"
#include "train/plan_only.h"
#include "train/session.h"
#include "version.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static volatile sig_atomic_t stop_signal;

/* The first signal asks for a stop after the current step; the second ends the process as usual. */
static void on_stop_signal(int number)
{
    stop_signal = number;
    signal(number, SIG_DFL);
}

static void install_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Last words, then the end of all ranks: the others may be waiting for this one. */
static int fail(reid_session *session, const reid_error *err)
{
    int rank = session->comm != NULL ? session->comm->rank : 0;
    int code = err->code == REID_ERR_INVALID || err->code == REID_ERR_UNSUPPORTED ? EXIT_USAGE
                                                                                  : EXIT_FAILED;
    reid_log_error("%s", err->text);
    if (session->trainer_made) {
        const char *images = reid_simple_trainer_bad_images(&session->trainer);
        if (*images != '\0') {
            reid_log_error("images of the batch:");
            reid_log_plain(images);
        }
    }
    reid_job_write_failure(&session->env, rank, reid_link_phase_name(session->phase), err);
    reid_link_failure(session->link, err->text);
    reid_link_finish(session->link, 1.0);
    if (session->comm != NULL && session->comm->size > 1)
        reid_comm_abort(session->comm, code);
    return code;
}

static int run(const reid_train_options *options)
{
    reid_session session = {.lock_fd = -1};
    reid_error err = {0};
    reid_job_env env;
    reid_status status = reid_job_env_read(&env, &err);
    if (status == REID_OK)
        status = reid_session_open(&session, options, &env, &stop_signal, &err);
    if (status == REID_OK)
        status = options->eval_only ? reid_session_evaluate(&session, &err)
                                    : reid_session_train(&session, &err);
    int code = EXIT_DONE;
    if (status == REID_ERR_CANCELLED) {
        reid_log_info("%s", err.text);
        code = stop_signal == SIGINT ? 130 : 143;
    } else if (status != REID_OK) {
        code = fail(&session, &err);
    }
    reid_session_close(&session);
    return code;
}

/* The OpenMP runtime reads its environment before main. Its default, to spin for long at the end of
 * each loop, costs a rank several times its speed as soon as loader threads or other jobs want the
 * cores; a short spin costs nothing measurable. */
static void start_with_short_spin(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") != NULL || getenv("OMP_WAIT_POLICY") != NULL)
        return;
    setenv("GOMP_SPINCOUNT", "1000", 1);
    execv("/proc/self/exe", argv); /* on failure it goes on as it is */
}

static int print_plan(const reid_train_options *options)
{
    reid_error err = {0};
    char *text = NULL;
    reid_status status = reid_plan_only(options, &text, &err);
    if (status == REID_OK) {
        fputs(text, stdout);
        free(text);
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
    }
    fprintf(stderr, "reid-train: %s\n", err.text);
    return status == REID_ERR_INVALID || status == REID_ERR_UNSUPPORTED ? EXIT_USAGE : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    reid_train_options options;
    reid_error err = {0};
    reid_crash_report("reid-train");
    const reid_log_options log = {.level = REID_LOG_INFO, .program = "reid-train", .rank = -1};
    reid_log_setup(&log);
    if (reid_train_options_parse(argc, argv, &options, &err) != REID_OK) {
        fprintf(stderr, "reid-train: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (options.help) {
        fputs(reid_train_usage, stdout);
        return EXIT_DONE;
    }
    if (options.version) {
        printf("reid-train %s\n", REID_VERSION_TEXT);
        return EXIT_DONE;
    }
    if (options.check_only) {
        if (reid_session_check(&options, &err) == REID_OK)
            return EXIT_DONE;
        fprintf(stderr, "reid-train: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (options.plan_device != NULL)
        return print_plan(&options);
    start_with_short_spin(argv);
    install_signals();
    return run(&options);
}
