#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/module.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "train/device.h"
#include "train/fork.h"
#include "train/session.h"

/* Does what the job will do, under a name that nobody else has: permissions do not tell of a file
 * system that is read-only or full, or is none for files, such as /proc. */
static reid_status try_to_write(const char *path, const char *folder, reid_error *err)
{
    REID_AUTOFREE char *probe = reid_xasprintf("%s/.reid-check-XXXXXX", folder);
    if (mkdtemp(probe) == NULL)
        return reid_fail_errno(err, errno, "OUTPUT_DIR '%s': cannot make a folder in '%s'", path,
                               folder);
    REID_AUTOFREE char *name = reid_path_join(probe, "file");
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int number = errno;
    if (fd >= 0) {
        close(fd);
        unlink(name);
    }
    rmdir(probe);
    if (fd < 0)
        return reid_fail_errno(err, number, "OUTPUT_DIR '%s': cannot write files in '%s'", path,
                               folder);
    return REID_OK;
}

/* In the nearest folder on the way to `path` that exists, folders and files can be made. */
static reid_status check_output(const reid_config *config, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_absolute(reid_config_string(config, "OUTPUT_DIR"));
    char *folder = reid_xstrdup(path);
    while (!reid_path_exists(folder) && strcmp(folder, "/") != 0) {
        char *parent = reid_path_dir(folder);
        free(folder);
        folder = parent;
    }
    reid_status status =
        reid_path_is_dir(folder)
            ? try_to_write(path, folder, err)
            : reid_fail(err, REID_ERR_INVALID, "OUTPUT_DIR '%s' is not a folder", path);
    free(folder);
    return status;
}

static reid_status check_ranks(const reid_train_options *options, reid_error *err)
{
    reid_comm *comm = NULL;
    if (options->world == 1 || reid_comm_mpi_available())
        return REID_OK;
    return reid_comm_mpi_new(NULL, &comm, err); /* says what this build lacks */
}

/* Ranks on other nodes have GPUs of their own, of which this one knows nothing. */
static void compare_with_gpus(int world)
{
    const reid_module *module = NULL;
    union { /* POSIX promises this conversion, ISO C does not */
        void *object;
        reid_cuda_gpu_count_fn *function;
    } count = {NULL};
    if (reid_module_load("cuda", &module, NULL) == REID_OK)
        count.object = module->symbol("reid_cuda_gpu_count");
    int gpus = count.object ? count.function() : 0;
    if (gpus < world)
        reid_log_warn("each of the %d rank%s needs a GPU, and this node has %d: the others must be "
                      "on other nodes",
                      world, world == 1 ? "" : "s", gpus);
}

/* GPUs are not opened: jobs may be running there, and this node need have none. */
static reid_status check_backend(const reid_train_options *options, const reid_config *config,
                                 reid_error *err)
{
    const char *name = reid_config_string(config, "MODEL.BACKEND");
    bool cuda = strcmp(name, "cuda") == 0;
    reid_backend *backend = NULL;
    reid_dtype compute;
    REID_TRY(reid_session_check_compression(config, err));
    REID_TRY(reid_backend_open(cuda ? "cuda:sm_90" : name, 1, &backend, err));
    if (cuda)
        compare_with_gpus(options->world);
    reid_status status = reid_session_compute(config, backend, &compute, err);
    reid_backend_free(backend);
    return status;
}

static reid_status check_weights(const reid_config *config, reid_error *err)
{
    const char *path = reid_config_string(config, "MODEL.WEIGHTS");
    if (*path == '\0' || reid_path_exists(path))
        return REID_OK;
    return reid_fail(err, REID_ERR_NOT_FOUND, "MODEL.WEIGHTS: there is no '%s'", path);
}

static reid_status check_resume(const reid_config *config, reid_error *err)
{
    char *path = reid_path_absolute(reid_config_string(config, "OUTPUT_DIR"));
    reid_checkpoint *checkpoint = NULL;
    reid_status status = reid_checkpoint_latest(path, &checkpoint, err);
    reid_checkpoint_free(checkpoint);
    free(path);
    return status;
}

static reid_status check_data(const reid_train_options *options, reid_config *config,
                              reid_error *err)
{
    reid_dataset *train = NULL;
    REID_TRY(reid_dataset_open_train(config, &train, err));
    reid_status status = REID_OK;
    if (!options->eval_only)
        status = reid_train_loader_check(config, train, options->world, err);
    if (status == REID_OK)
        status = reid_session_set_classes(config, train, err);
    if (status == REID_OK && options->fork_from != NULL)
        status = reid_fork_check(options, config, train, err);
    for (size_t i = 0; i < reid_config_count(config, "DATASETS.TESTS") && status == REID_OK; i++) {
        reid_dataset *query = NULL, *gallery = NULL;
        status = reid_dataset_open_test(config, reid_config_string_at(config, "DATASETS.TESTS", i),
                                        &query, &gallery, err);
        reid_dataset_free(query);
        reid_dataset_free(gallery);
    }
    reid_model *model = NULL;
    if (status == REID_OK)
        status =
            reid_model_build(config, (int)reid_config_int(config, "MODEL.HEADS.NUM_CLASSES"),
                             (int)reid_config_int(config, "SOLVER.IMS_PER_BATCH") / options->world,
                             reid_evaluator_batch(config, options->world), &model, err);
    reid_model_free(model);
    reid_dataset_free(train);
    return status;
}

reid_status reid_session_check(const reid_train_options *options, reid_error *err)
{
    reid_config *config = NULL;
    REID_TRY(reid_session_load_config(options, options->world, &config, err));
    reid_status status = check_ranks(options, err);
    if (status == REID_OK)
        status = check_data(options, config, err);
    if (status == REID_OK)
        status = check_backend(options, config, err);
    if (status == REID_OK)
        status = check_output(config, err);
    if (status == REID_OK)
        status = check_weights(config, err);
    if (status == REID_OK && options->resume && options->fork_from == NULL)
        status = check_resume(config, err);
    reid_config_free(config);
    return status;
}
