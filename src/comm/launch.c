#include "comm/launch.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"

/* The number in the first variable that is set, else `otherwise`. */
static int number_of(const char *const *names, int otherwise)
{
    for (; *names; names++) {
        const char *text = getenv(*names);
        int64_t value;
        if (text && reid_parse_int64(text, &value) == REID_OK && value >= 0 && value <= 1 << 20)
            return (int)value;
    }
    return otherwise;
}

void reid_comm_launch_detect(reid_comm_launch *ret_launch)
{
    static const char *const ranks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", NULL};
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS",
                                        NULL};
    static const char *const local_ranks[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", NULL};
    static const char *const local_sizes[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", NULL};
    int rank = number_of(ranks, -1);
    *ret_launch = (reid_comm_launch){0};
    if (rank < 0)
        return;
    ret_launch->launched = true;
    ret_launch->rank = rank;
    ret_launch->size = number_of(sizes, 0);
    ret_launch->local_rank = number_of(local_ranks, 0);
    ret_launch->local_size = number_of(local_sizes, 0);
    if (ret_launch->size <= rank) /* contradicts itself: count it as not told */
        ret_launch->size = 0;
}

void reid_comm_launch_choose(const reid_comm_launch *launch, const char *shared_memory)
{
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    bool one_node = launch->size > 0 && launch->local_size == launch->size;
    if (one_node || !launch->launched) { /* across nodes it chooses a network card by its place */
        setenv("HWLOC_PLUGINS_PATH", "/nonexistent", 0);
        setenv("HWLOC_COMPONENTS", "-linuxio,-pci,-opencl,-gl,-cuda,-nvml,-rsmi,-xml", 0);
    }
    if (!getenv("OMPI_MCA_pml") && !getenv("OMPI_MCA_btl") && (one_node || !launch->launched)) {
        REID_AUTOFREE char *transports = reid_xasprintf("self,%s", shared_memory);
        setenv("OMPI_MCA_btl", transports, 1);
        setenv("OMPI_MCA_pml", "ob1", 1);
    }
    if (!launch->launched)
        setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
}
