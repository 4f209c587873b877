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
#include "daemon/exec/address.h"
#include "daemon/exec/files.h"
#include "daemon/sched/nodes.h"

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

/* The same for ranks on several nodes, in mpirun and in orted. A node that is gone is found by the
 * daemons' heartbeats; the keepalive is for the ends of a connection that nobody closes. */
static const setting many_nodes[] = {
    {"OMPI_ALLOW_RUN_AS_ROOT", "1", true},
    {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", true},
    {"OMPI_MCA_ras", "^slurm,tm,gridengine", true},
    {"OMPI_MCA_plm", "rsh", true},
    {"OMPI_MCA_plm_rsh_no_tree_spawn", "1", true},
    {"OMPI_MCA_plm_rsh_pass_environ_mca_params", "0", true},
    {"OMPI_MCA_orte_leave_session_attached", "1", true},
    {"OMPI_MCA_orte_keep_fqdn_hostnames", "1", true}, /* "node1.lab" is not "node1" */
    /* Nodes are reached through their daemons: names of nodes need not be known to DNS. */
    {"OMPI_MCA_if_base_do_not_resolve", "1", true},
    {"OMPI_MCA_oob_tcp_keepalive_time", "2", false},
    {"OMPI_MCA_oob_tcp_keepalive_intvl", "1", false},
    {"OMPI_MCA_oob_tcp_keepalive_probes", "3", false},
    {"OMPI_MCA_btl", "self,vader,tcp", false},
    {"OMPI_MCA_pml", "ob1", false},
    {"OMPI_MCA_hwloc_base_binding_policy", "none", false},
    {"HWLOC_PLUGINS_PATH", "/nonexistent", false},
    {"HWLOC_COMPONENTS", "-linuxio,-pci,-opencl,-gl,-cuda,-nvml,-rsmi,-xml", false},
    {"OMPI_MCA_orte_abort_on_non_zero_status", "0", true},
    {"OMPI_MCA_odls_base_num_threads", "0", true},
};

static const setting one_rank[] = {
    {"OMPI_MCA_ess_singleton_isolated", "1", false},
    {"OMPI_MCA_btl", "self", false},
    {"OMPI_MCA_pml", "ob1", false},
};

bool reidd_launch_is_alone(const reidd_shim_options *options)
{
    return options->ranks == 1 && !options->part && !options->hosts;
}

/* Ranks that share this node's cores. */
static int ranks_here(const reidd_shim_options *options)
{
    int here = options->ranks;
    reidd_placement placement = {0};
    if (options->hosts && reidd_placement_parse(options->hosts, &placement, NULL) == REID_OK) {
        here = 0;
        for (size_t i = 0; i < placement.count; i++)
            if (strcmp(placement.items[i].node, options->node) == 0)
                here = placement.items[i].ranks;
    }
    reidd_placement_fini(&placement);
    return REID_MAX(here, 1);
}

/* As Open MPI's *_if_include wants it: "10.77.0.0/24", or one node's own address. That is written
 * with /31: to Open MPI 4.1, /32 is a mask of no bits at all, which takes every interface. */
static reid_status find_network(const char *network, char *buffer, size_t size, reid_error *err)
{
    char address[REIDD_ADDRESS_BYTES] = "";
    if (strchr(network, '/')) {
        snprintf(buffer, size, "%s", network);
        return REID_OK;
    }
    REID_TRY(reidd_address_resolve(network, address, err));
    snprintf(buffer, size, "%s/31", address);
    return REID_OK;
}

static reid_status apply_nodes(const reidd_shim_options *options, const char *shm_dir,
                               reid_error *err)
{
    char network[128];
    if (options->agent && strpbrk(options->agent, " \t"))
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "mpirun cannot use '%s' to reach other nodes: its path has a space",
                         options->agent);
    REID_TRY(find_network(options->network, network, sizeof network, err));
    REID_AUTOFREE char *agent = options->agent ? reid_xasprintf("%s agent", options->agent) : NULL;
    const setting own[] = {
        {"OMPI_MCA_oob_tcp_if_include", network, true},
        {"OMPI_MCA_btl_tcp_if_include", network, true},
        {"REIDD_MPI_NET", network, true},
        {"REIDD_SHM_DIR", shm_dir, true},
        {"OMPI_MCA_plm_rsh_agent", agent, true},
    };
    REID_TRY(apply(many_nodes, REID_COUNT_OF(many_nodes), err));
    return apply(own, REID_COUNT_OF(own) - !agent, err);
}

reid_status reidd_launch_environment(const reidd_shim_options *options, const char *shm_dir,
                                     reid_error *err)
{
    scrub();
    int cores = reidd_launch_cores();
    char threads[16];
    int here = ranks_here(options);
    snprintf(threads, sizeof threads, "%d", REID_MAX(cores / here, 1));
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
    if (reidd_launch_is_alone(options))
        return apply(one_rank, REID_COUNT_OF(one_rank), err);
    if (options->part || options->hosts)
        REID_TRY(apply_nodes(options, shm_dir, err));
    else
        REID_TRY(apply(many_ranks, REID_COUNT_OF(many_ranks), err));
    const setting idle = {"OMPI_MCA_mpi_yield_when_idle", "1", false};
    if (here > cores)
        REID_TRY(apply(&idle, 1, err));
    const setting segments = {"OMPI_MCA_btl_vader_backing_directory", shm_dir, true};
    return *shm_dir ? apply(&segments, 1, err) : REID_OK;
}

/* The placement in mpirun's words. Its own machine is "localhost": what the cluster calls this node
 * need not be the host's name. */
static char *hosts_for_mpirun(const reidd_shim_options *options)
{
    char *text = NULL;
    reidd_placement placement = {0};
    REID_ASSERT(reidd_placement_parse(options->hosts, &placement, NULL) == REID_OK);
    for (size_t i = 0; i < placement.count; i++) {
        REID_AUTOFREE char *before = text;
        bool own = strcmp(placement.items[i].node, options->node) == 0;
        text =
            reid_xasprintf("%s%s%s:%d", before ? before : "", before ? "," : "",
                           own ? "localhost" : placement.items[i].node, placement.items[i].ranks);
    }
    reidd_placement_fini(&placement);
    return text;
}

char **reidd_launch_command(const reidd_shim_options *options)
{
    REID_VEC(char *) words = {0};
    char ranks[16];
    snprintf(ranks, sizeof ranks, "%d", options->ranks);
    if (options->hosts) {
        REID_AUTOFREE char *hosts = hosts_for_mpirun(options);
        /* Slots in rank order fill the nodes in the order of the placement. The folder that a rank
         * runs in is another one on each node. */
        const char *launcher[] = {
            "mpirun", "--oversubscribe", "--host", hosts,         "--map-by",    "slot", "-np",
            ranks,    "--wdir",          "/",      options->self, "--rank-exec", "--"};
        for (size_t i = 0; i < REID_COUNT_OF(launcher); i++)
            reid_vec_push(&words, reid_xstrdup(launcher[i]));
    } else if (!options->part && options->ranks > 1) {
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
