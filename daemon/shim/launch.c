#include "daemon/shim/launch.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "base/vec.h"
#include "daemon/exec/files.h"

extern char **environ;

int reidd_launch_cores(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) != 0)
        return 1;
    return REID_MAX(CPU_COUNT(&cores), 1);
}

/* A variable that an mpirun or srun around reidd left, which would confuse the one inside. */
static bool is_left_over(const char *entry, bool nested)
{
    static const char *const prefixes[] = {"OMPI_", "PMIX_", "OPAL_", "ORTE_",
                                           "PMI_",  "PRTE_", "HYDI_"};
    /* Settings that somebody made for Open MPI on purpose stay, unless they came from an mpirun. */
    if (!nested && reid_str_starts(entry, "OMPI_MCA_"))
        return false;
    for (size_t i = 0; i < REID_COUNT_OF(prefixes); i++)
        if (reid_str_starts(entry, prefixes[i]))
            return true;
    return false;
}

static void scrub(void)
{
    REID_VEC(char *) names = {0};
    bool nested = getenv("OMPI_COMM_WORLD_SIZE") != NULL;
    for (char **entry = environ; *entry; entry++)
        if (is_left_over(*entry, nested))
            reid_vec_push(&names, reid_xstrndup(*entry, strcspn(*entry, "=")));
    for (size_t i = 0; i < names.count; i++) {
        unsetenv(names.items[i]);
        free(names.items[i]);
    }
    reid_vec_fini(&names);
}

typedef struct setting {
    const char *name, *value;
    bool firm; /* replaces what is set already */
} setting;

static reid_status apply(const setting *settings, size_t count, reid_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (setenv(settings[i].name, settings[i].value, settings[i].firm) != 0)
            return reid_fail_errno(err, errno, "cannot set %s", settings[i].name);
    return REID_OK;
}

/* Parameters of Open MPI 4 for ranks on one node. */
static const setting many_ranks[] = {
    {"OMPI_ALLOW_RUN_AS_ROOT", "1", true},
    {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", true},
    {"OMPI_MCA_plm", "isolated", true}, /* no ssh, no resource manager */
    {"OMPI_MCA_ras", "^slurm,tm,gridengine", true},
    {"OMPI_MCA_oob_tcp_if_include", "lo", false}, /* its control ports are not for the network */
    {"OMPI_MCA_btl", "self,vader", false},
    {"OMPI_MCA_pml", "ob1", false},
    {"OMPI_MCA_hwloc_base_binding_policy", "none", false},
    /* mpirun and each rank look for cores and memory, not for displays, disks and PCI cards: half
     * of their start-up. */
    {"HWLOC_PLUGINS_PATH", "/nonexistent", false},
    {"HWLOC_COMPONENTS", "-linuxio,-pci,-opencl,-gl,-cuda,-nvml,-rsmi,-xml", false},
    /* The shim sees how each rank ends and acts on it; a rank that saves its state at TERM must not
     * be shot because another one has finished doing so. */
    {"OMPI_MCA_orte_abort_on_non_zero_status", "0", true},
    /* Ranks are forked by mpirun's main thread, whose end is mpirun's: PR_SET_PDEATHSIG. */
    {"OMPI_MCA_odls_base_num_threads", "0", true},
};

static const setting one_rank[] = {
    {"OMPI_MCA_ess_singleton_isolated", "1", false},
    {"OMPI_MCA_btl", "self", false},
    {"OMPI_MCA_pml", "ob1", false},
};

reid_status reidd_launch_environment(const reidd_shim_options *options, const char *shm_dir,
                                     reid_error *err)
{
    scrub();
    int cores = reidd_launch_cores();
    char threads[16];
    snprintf(threads, sizeof threads, "%d", REID_MAX(cores / options->ranks, 1));
    REID_AUTOFREE char *tmp = reidd_attempt_path(options->attempt_dir, "tmp");
    const setting common[] = {
        {"TMPDIR", tmp, true},
        {"REIDD_ATTEMPT_DIR", options->attempt_dir, true},
        {"OMP_NUM_THREADS", threads, false},
    };
    REID_TRY(apply(common, REID_COUNT_OF(common), err));
    /* What reid-train would set for itself, and execute itself anew for. */
    const setting spin = {"GOMP_SPINCOUNT", "1000", false};
    if (!getenv("OMP_WAIT_POLICY"))
        REID_TRY(apply(&spin, 1, err));
    if (options->ranks == 1)
        return apply(one_rank, REID_COUNT_OF(one_rank), err);
    REID_TRY(apply(many_ranks, REID_COUNT_OF(many_ranks), err));
    const setting idle = {"OMPI_MCA_mpi_yield_when_idle", "1", false};
    if (options->ranks > cores)
        REID_TRY(apply(&idle, 1, err));
    const setting segments = {"OMPI_MCA_btl_vader_backing_directory", shm_dir, true};
    return *shm_dir ? apply(&segments, 1, err) : REID_OK;
}

char **reidd_launch_command(const reidd_shim_options *options)
{
    REID_VEC(char *) words = {0};
    if (options->ranks > 1) {
        char ranks[16];
        snprintf(ranks, sizeof ranks, "%d", options->ranks);
        /* No path to mpirun: with one it would act as if --prefix was given. */
        const char *launcher[] = {"mpirun",      "--oversubscribe", "-np", ranks,
                                  options->self, "--rank-exec",     "--"};
        for (size_t i = 0; i < REID_COUNT_OF(launcher); i++)
            reid_vec_push(&words, reid_xstrdup(launcher[i]));
    }
    for (char **word = options->command; *word; word++)
        reid_vec_push(&words, reid_xstrdup(*word));
    reid_vec_push(&words, NULL);
    return words.items;
}

void reidd_launch_command_free(char **command)
{
    if (!command)
        return;
    for (char **word = command; *word; word++)
        free(*word);
    free(command);
}
