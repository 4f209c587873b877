"""Faults to plant in the CUDA module, one at a time. Each row: a name; the file; what stands there, once, and what is put in its
place; the tests that are run, in this order, until one fails. Names of tests: run.py."""
import collections

Mutant = collections.namedtuple('Mutant', 'name file old new tests why')
MEMORY = 'src/backend/cuda/cuda_memory.c'
NCCL = 'src/comm/nccl/nccl_comm.c'
DNN = 'src/backend/cuda/dnn.c'
CONV = 'src/backend/cuda/cuda_conv.c'
FOLD = 'src/backend/cuda/cuda_fold.c'
UPDATE = 'src/backend/cuda/cuda_update.c'
REDUCER = 'src/comm/reducer.c'

MUTANTS = [Mutant(*row) for row in [
    # ---- order between streams ----
    ('no_wait_for_compute', NCCL,
     'CALL_TRY(cudaStreamWaitEvent(c->stream, slot->ready, 0), "queuing a collective call");', '',
     ['collectives', 'two_gpus'], 'the all-reduce starts before the gradients are there'),
    ('no_wait_for_the_sum', NCCL,
     '''    CALL_TRY(cudaStreamWaitEvent(c->backend->stream, slot->ended, 0),
             "waiting for a collective call");
''', '', ['collectives', 'two_gpus'], 'the update reads gradients that are still being summed'),
    ('ended_too_early', NCCL,
     '''    REID_TRY(work->kind == REID_COMM_ALLREDUCE ? queue_allreduce(c, work, err)
                                               : queue_broadcast(c, work, err));
    CALL_TRY(cudaEventRecord(slot->ended, c->stream), "queuing a collective call");
''', '''    CALL_TRY(cudaEventRecord(slot->ended, c->stream), "queuing a collective call");
    REID_TRY(work->kind == REID_COMM_ALLREDUCE ? queue_allreduce(c, work, err)
                                               : queue_broadcast(c, work, err));
''', ['collectives', 'two_gpus'], 'the event of the end is recorded before the call'),
    ('waits_for_the_other_slot', NCCL, '''    nccl_slot *slot = &call->slot[call->turn % 2];
    REID_TRY(nccl_whole(c, err));
    CALL_TRY(cudaEventRecord(slot->reached''', '''    nccl_slot *slot = &call->slot[call->turn % 2];
    REID_TRY(nccl_whole(c, err));
    CALL_TRY(cudaStreamWaitEvent(c->backend->stream, call->slot[(call->turn + 1) % 2].ended, 0), "");
    slot->waited = true;
    return REID_OK;
    CALL_TRY(cudaEventRecord(slot->reached''', ['collectives', 'two_gpus'], 'the wait is for the step before'),
    ('update_on_another_stream', UPDATE,
     'reid_cuda_sgd(backend->stream, &c, ranges, range_count, value, grad, momentum_buffer),',
     'reid_cuda_sgd(NULL, &c, ranges, range_count, value, grad, momentum_buffer),',
     ['flat'], 'a launch on the default stream'),
    ('zero_on_another_stream', MEMORY,
     'cuda_note(backend, cudaMemsetAsync(device, 0, bytes, backend->stream),',
     'cuda_note(backend, cudaMemsetAsync(device, 0, bytes, 0),', ['collectives'], 'zeroing on the default stream'),
    ('cast_on_the_wrong_stream', NCCL, 'CALL_TRY(reid_cuda_cast_down(c->stream, work->data',
     'CALL_TRY(reid_cuda_cast_down(c->backend->stream, work->data', ['compression'],
     'gradients are compressed on the compute stream, nobody waits for that'),

    # ---- buckets ----
    ('bucket_order_by_rank', REDUCER, 'bucket *b = &r->buckets[r->next++];',
     'bucket *b = &r->buckets[r->comm->rank % 2 ? r->bucket_count - 1 - r->next : r->next];\n    r->next++;',
     ['collectives', 'two_gpus'], 'ranks sum their buckets in different order'),
    ('bucket_too_early', REDUCER, 'r->buckets[r->next].end <= r->ready_end)', 'r->buckets[r->next].start <= r->ready_end)',
     ['collectives', 'two_gpus'], 'a bucket starts when its first gradient is there'),
    ('sum_instead_of_average', NCCL, 'work->divisor == 1.0f ? ncclSum : ncclAvg', 'ncclSum', ['collectives', 'two_gpus'],
     'gradients are added and not divided'),
    ('bucket_cut_short', NCCL, 'ncclAllReduce(data, data, work->count, type',
     'ncclAllReduce(data, data, work->count - 1, type', ['collectives'], 'the last gradient of a bucket stays local'),
    ('bucket_count_by_rank', NCCL, 'ncclAllReduce(data, data, work->count, type',
     'ncclAllReduce(data, data, work->count - (size_t)c->base.rank, type', ['collectives', 'two_gpus'], 'ranks disagree on a count'),

    # ---- the host and device memory ----
    ('host_reads_device', MEMORY, '''    transfer t = transfer_raw(backend, device, bytes);
    cuda_note(backend, transfer_out(backend, &t, host), "copy from the GPU");''', '    memcpy(host, device, bytes);',
     ['flat', 'one_gpu'], 'copy_out dereferences a device pointer'),
    ('host_writes_device', UPDATE, '''    cuda_backend *backend = (cuda_backend *)base;
    cuda_note(backend, reid_cuda_scale(''', '''    cuda_backend *backend = (cuda_backend *)base;
    ((volatile float *)data)[0] = 0.0f;
    cuda_note(backend, reid_cuda_scale(''', ['flat'], 'the host writes device memory'),
    ('reads_pinned_early', MEMORY, '''        result = staging_ready(staging);
        if (result == cudaSuccess)
            memcpy(host + at''', '''        if (result == cudaSuccess)
            memcpy(host + at''', ['ops'], 'a result is taken before its copy has ended'),
    ('writes_pinned_early', MEMORY, '''    cudaError_t result = staging_ready(staging);
    if (result != cudaSuccess)
        return result;
    memcpy(staging->host''', '''    cudaError_t result = cudaSuccess;
    memcpy(staging->host''', ['ops'], 'a buffer is filled while a copy still reads it'),
    ('sum_read_early', UPDATE, 'return result == cudaSuccess ? cudaStreamSynchronize(backend->stream) : result;',
     'return result;', ['flat'], 'a norm is read before its copy has ended'),
    ('event_of_the_other_buffer', MEMORY, 'cudaError_t result = cudaEventRecord(staging->done, stream);',
     'cudaError_t result = staging->busy ? cudaSuccess : cudaErrorUnknown;\n'
     '    result = staging == NULL ? result : cudaSuccess;', ['ops'], 'the event of a buffer is never recorded'),

    # ---- bounds and initialisation ----
    ('one_thread_too_many', 'src/backend/cuda/eltwise.cu', 'if (rest < count)', 'if (rest <= count)', ['ops'],
     'the guard of a kernel lets one number too many pass'),
    ('one_block_too_few', 'src/backend/cuda/triplet.cu', 'REID_LAUNCH(reid_triplet_length_kernel, rows,',
     'REID_LAUNCH(reid_triplet_length_kernel, rows - 1,', ['ops'], 'a launch of one block too few'),
    ('one_block_too_many', 'src/backend/cuda/triplet.cu', 'REID_LAUNCH(reid_triplet_length_kernel, rows,',
     'REID_LAUNCH(reid_triplet_length_kernel, rows + 1,', ['ops'], 'a launch of one block too many'),
    ('one_pack_too_many', 'src/backend/cuda/update.cu', 'i < p.packs_to; i += 4 * BLOCK', 'i <= p.packs_to; i += 4 * BLOCK',
     ['flat'], 'a pack beyond the end of a range'),
    ('not_zeroed', MEMORY, '''    if (result == cudaSuccess)
        result = cudaMemsetAsync(memory, 0, bytes, backend->stream);
''', '', ['ops', 'flat', 'one_gpu'], 'memory is used before it is initialised'),
    ('short_allocation', MEMORY, 'cudaError_t result = cudaMalloc(&memory, bytes);',
     'cudaError_t result = cudaMalloc(&memory, bytes > 4 ? bytes - 4 : bytes);', ['ops'], 'an allocation of four bytes too few'),

    # ---- barriers ----
    ('no_barrier_in_triplet', 'src/backend/cuda/triplet.cu', '''        sum += part;
        __syncthreads();
''', '''        sum += part;
''', ['ops'], 'a tile is overwritten while other threads read it'),
    ('no_barrier_in_layout', 'src/backend/cuda/layout.cu', None, None, ['ops'], 'the first barrier of a transposition is missing'),
    ('no_barrier_in_bias', 'src/backend/cuda/bias.cu', None, None, ['ops'], 'the barrier of the sum of a bias is missing'),

    # ---- cuDNN ----
    ('takes_any_engine', DNN, 'unsigned refused = NOTE(NONDETERMINISTIC) | NOTE(REDUCED_PRECISION_REDUCTION);',
     'unsigned refused = 0;', ['ops'], 'an engine that is not deterministic'),
    ('takes_tf32', DNN, 'refused |= NOTE(TENSOR_CORE) | NOTE(DOWN_CONVERT_INPUTS);', 'refused |= 0;', ['ops'],
     'float32 is rounded to tf32 unasked'),
    ('no_workspace', CONV, 'workspace = REID_MAX(workspace, conv->call[pass].plan->workspace_bytes);', '', ['ops'],
     'the scratch has no room for the plan'),
    ('workspace_over_the_weights', CONV, '.workspace = (unsigned char *)b->scratch + conv->cast_bytes}',
     '.workspace = b->scratch}', ['ops'], 'cuDNN overwrites the weights that it reads'),
    ('swapped_tensors', DNN, 'addresses[] = {places->x, places->weight, places->y,',
     'addresses[] = {places->y, places->weight, places->x,', ['ops'], 'input and output are swapped'),

    # ---- evaluation in one call ----
    ('fold_without_mean', 'src/backend/cuda/fold.cu', 'beta[k] - mean[k] * scale', 'beta[k]', ['ops'], 'the shift lacks the mean'),
    ('workspace_over_the_bias', FOLD, 'b->scratch + fold->weight_bytes + fold->bias_bytes', 'b->scratch + fold->weight_bytes',
     ['ops'], 'cuDNN overwrites the bias that it reads'),
    ('fused_without_residual', FOLD, '.residual = residual_of(fold),', '.residual = b->output,', ['ops'],
     'what is added is what was there before'),
    ('relu_of_every_fold', FOLD, 'key->relu = desc->relu;', 'key->relu = true;', ['ops'], 'a ReLU that is not in the network'),
    ('finish_without_residual', 'src/backend/cuda/fold.cu', '(residual ? reid_to_float(residual[at]) : 0.0f)', '0.0f',
     ['unfused'], 'without a plan of cuDNN the residual is forgotten'),

    # ---- fp16 ----
    ('weights_of_another_type', CONV, 'stream, conv->shape.dtype, b->param[0]', 'stream, REID_BF16, b->param[0]', ['ops'],
     'fp16 convolutions read weights in bf16'),
    ('graph_of_another_type', 'src/backend/cuda/dnn_graph.c', 'dtype == REID_F16 ? CUDNN_DATA_HALF', 'dtype == REID_F16 ? CUDNN_DATA_BFLOAT16',
     ['ops'], 'cuDNN takes fp16 for bf16'),
    ('loss_not_scaled', 'src/nn/plan_gradients.c', '(float)(sum * plan->loss_scale)', '(float)sum', ['fp16'],
     'gradients are divided by a scale that they were not multiplied by'),
    ('update_not_unscaled', 'src/solver/optimizer.c', 'step(optimizer, loss_scale);', 'step(optimizer, 1);', ['fp16'],
     'gradients are not divided by the scale'),
    ('overflow_is_no_reason', 'src/solver/optimizer.c', '1, optimizer->params->grad)))\n        return false;',
     '1, optimizer->params->grad)))\n        ;', ['overflow'], 'infinite gradients reach the parameters'),
    ('scale_never_halved', 'src/solver/loss_scale.c', 'scale->scale /= 2;', '', ['overflow'], 'no step is ever good again'),
    ('recording_of_the_old_scale', 'src/nn/plan.c', 'reid_plan_drop_backward(plan, (int)k);', '', ['overflow'],
     'a recorded backward goes on with the scale of before'),
    ('scale_not_restored', 'src/train/state.c', 'session->loss_scale.scale = reader->counts.loss_scale;', '', ['overflow'],
     'a resumed run begins with the first scale'),

    # ---- limits ----
    ('images_of_one_grid', 'src/backend/cuda/input.cu', 'n += gridDim.y', 'n += count', ['flat'], 'only as many images as the grid has rows'),
    ('norm_forgets_nan', 'src/backend/cuda/update.cu', 'return b > a || b != b ? b : a;', 'return b > a ? b : a;', ['flat'],
     'a NaN is not the largest number'),
    ('clamps_one_side', 'src/backend/cuda/update.cu', 'v[i] = reid_clamp_element(v[i], limit);', 'v[i] = v[i] > limit ? limit : v[i];',
     ['flat'], 'gradients are clipped above only'),
]]
