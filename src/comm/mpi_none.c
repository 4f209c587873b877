/* The build without MPI. */
#include "comm/comm.h"

reid_status reid_comm_mpi_new(const reid_comm_options *options, reid_comm **ret_comm,
                              reid_error *err)
{
    return reid_fail(
        err, REID_ERR_UNSUPPORTED,
        "this build has no MPI, so that it trains with one rank only; build it with -DREID_MPI=ON "
        "(apt-get install libopenmpi-dev) for more");
}

bool reid_comm_mpi_available(void)
{
    return false;
}
