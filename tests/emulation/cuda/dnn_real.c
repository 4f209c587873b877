#include "dnn_emu.h"
cudnnStatus_t emu_dnn_judge(const emu_desc *graph)
{
    (void)graph;
    return CUDNN_STATUS_SUCCESS;
}
