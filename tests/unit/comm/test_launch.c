/* What the launcher's environment says, and what Open MPI is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"
#include "comm/launch.h"
#include "harness/harness.h"

static const char *const NAMES[] = {"OMPI_COMM_WORLD_RANK",
                                    "OMPI_COMM_WORLD_SIZE",
                                    "OMPI_COMM_WORLD_LOCAL_RANK",
                                    "OMPI_COMM_WORLD_LOCAL_SIZE",
                                    "PMIX_RANK",
                                    "PMI_RANK",
                                    "PMI_SIZE",
                                    "SLURM_STEP_NUM_TASKS",
                                    "SLURM_LOCALID",
                                    "OMPI_MCA_btl",
                                    "OMPI_MCA_pml",
                                    "OMPI_MCA_mpi_yield_when_idle",
                                    "OMPI_MCA_ess_singleton_isolated"};

static int clear(void **state)
{
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        unsetenv(NAMES[i]);
    return 0;
}

static void set_world(const char *rank, const char *size, const char *local_rank,
                      const char *local_size)
{
    setenv("OMPI_COMM_WORLD_RANK", rank, 1);
    setenv("OMPI_COMM_WORLD_SIZE", size, 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", local_rank, 1);
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", local_size, 1);
}

static void test_alone(void **state)
{
    reid_comm_launch launch;
    reid_error err = {0};
    reid_comm *comm;
    reid_comm_launch_detect(&launch);
    assert_false(launch.launched);
    assert_int_equal(launch.size, 0);
    reid_assert_ok(reid_comm_open(NULL, &comm, &err), &err);
    assert_int_equal(comm->size, 1);
    reid_comm_free(comm);
    reid_comm_launch_choose(&launch, "vader");
    assert_string_equal(getenv("OMPI_MCA_ess_singleton_isolated"), "1");
}

/* mpirun -np 1: nothing to agree with. */
static void test_one_rank_needs_no_mpi(void **state)
{
    reid_error err = {0};
    reid_comm *comm;
    set_world("0", "1", "0", "1");
    reid_assert_ok(reid_comm_open(NULL, &comm, &err), &err);
    assert_string_equal(reid_comm_library(comm), "none");
    reid_comm_free(comm);
}

static void test_one_node(void **state)
{
    reid_comm_launch launch;
    set_world("1", "4", "1", "4");
    reid_comm_launch_detect(&launch);
    assert_true(launch.launched);
    assert_int_equal(launch.rank, 1);
    assert_int_equal(launch.size, 4);
    assert_int_equal(launch.local_rank, 1);
    assert_int_equal(launch.local_size, 4);
    reid_comm_launch_choose(&launch, "vader");
    assert_string_equal(getenv("OMPI_MCA_btl"), "self,vader");
    assert_string_equal(getenv("OMPI_MCA_pml"), "ob1");
    assert_string_equal(getenv("OMPI_MCA_mpi_yield_when_idle"), "1");
    assert_null(getenv("OMPI_MCA_ess_singleton_isolated"));
}

static void test_two_nodes_choose_by_themselves(void **state)
{
    reid_comm_launch launch;
    set_world("3", "4", "1", "2");
    reid_comm_launch_detect(&launch);
    reid_comm_launch_choose(&launch, "vader");
    assert_null(getenv("OMPI_MCA_btl"));
    assert_null(getenv("OMPI_MCA_pml"));
}

static void test_the_users_choice_stays(void **state)
{
    reid_comm_launch launch;
    set_world("0", "2", "0", "2");
    setenv("OMPI_MCA_btl", "self,tcp", 1);
    setenv("OMPI_MCA_mpi_yield_when_idle", "0", 1);
    reid_comm_launch_detect(&launch);
    reid_comm_launch_choose(&launch, "vader");
    assert_string_equal(getenv("OMPI_MCA_btl"), "self,tcp");
    assert_null(getenv("OMPI_MCA_pml"));
    assert_string_equal(getenv("OMPI_MCA_mpi_yield_when_idle"), "0");
}

static void test_pmix_tells_only_the_rank(void **state)
{
    reid_comm_launch launch;
    setenv("PMIX_RANK", "2", 1);
    reid_comm_launch_detect(&launch);
    assert_true(launch.launched);
    assert_int_equal(launch.rank, 2);
    assert_int_equal(launch.size, 0);
    setenv("SLURM_STEP_NUM_TASKS", "8", 1);
    reid_comm_launch_detect(&launch);
    assert_int_equal(launch.size, 8);
}

static void test_a_build_without_mpi_says_so(void **state)
{
    reid_error err = {0};
    reid_comm *comm = NULL;
    if (reid_comm_mpi_available())
        return;
    set_world("0", "2", "0", "2");
    assert_int_equal(reid_comm_open(NULL, &comm, &err), REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "this build has no MPI"));
    assert_null(comm);
}

static void test_nonsense_counts_as_not_told(void **state)
{
    reid_comm_launch launch;
    set_world("5", "2", "0", "2");
    reid_comm_launch_detect(&launch);
    assert_int_equal(launch.size, 0);
    set_world("x", "-2", "", "2");
    reid_comm_launch_detect(&launch);
    assert_false(launch.launched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_alone, clear),
        cmocka_unit_test_setup(test_one_rank_needs_no_mpi, clear),
        cmocka_unit_test_setup(test_one_node, clear),
        cmocka_unit_test_setup(test_two_nodes_choose_by_themselves, clear),
        cmocka_unit_test_setup(test_the_users_choice_stays, clear),
        cmocka_unit_test_setup(test_pmix_tells_only_the_rank, clear),
        cmocka_unit_test_setup(test_a_build_without_mpi_says_so, clear),
        cmocka_unit_test_setup(test_nonsense_counts_as_not_told, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
