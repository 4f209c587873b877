#include "config/keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/str.h"

/* The words of a row; a row without one accepts every value of its type. */
#define ONE_OF(supported, known) .choices = supported " | " known
#define RANGE(from, to) .bounded = true, .min = (from), .max = (to)
#define AT_LEAST(from) RANGE(from, INFINITY)
#define ABOVE(from) .bounded = true, .above = true, .min = (from), .max = INFINITY
#define COUNT(from, to) .min_count = (from), .max_count = (to)
#define UNSUPPORTED(otherwise) .only_default = true, .instead = otherwise

#define ROW(key, kind, default_text, sentence, ...)                                                \
    {                                                                                              \
        .name = key, .type = REID_CONFIG_##kind, .fallback = default_text, .help = sentence,       \
        __VA_ARGS__                                                                                \
    }
#define ANY .instead = NULL

#define PROBABILITY RANGE(0, 1)
#define SIDES RANGE(1, 4096), COUNT(2, 2)
#define NORMS ONE_OF("BN", "syncBN GhostBN FrozenBN GN")
#define DATASETS                                                                                   \
    ONE_OF("Market1501",                                                                           \
           "AirportALERT CAVIARa CUHK03 DukeMTMC GRID iLIDS LPW LargeVeRiWild LargeVehicleID "     \
           "MSMT17 MediumVeRiWild MediumVehicleID PKU PRAI PRID PeS3D SAIVT SYSU_mm SenseReID "    \
           "Shinpuhkan SmallVeRiWild SmallVehicleID Thermalworld VIPeR VeRi VeRiWild VehicleID "   \
           "WildTrackCrop cuhkSYSU")
#define BACKBONES                                                                                  \
    ONE_OF("build_resnet_backbone",                                                                \
           "build_effnet_backbone build_mobilenetv2_backbone build_mobilenetv3_backbone "          \
           "build_osnet_backbone build_regnet_backbone build_repvgg_backbone "                     \
           "build_resnest_backbone build_resnext_backbone build_shufflenetv2_backbone "            \
           "build_vit_backbone")

/* clang-format off */
static const reid_config_row ROWS[] = {
    /* The network */
    ROW("MODEL.DEVICE", STRING, "cuda",
        "fast-reid's device. No effect here: MODEL.BACKEND says what computes.", ONE_OF("cuda cpu", "")),
    ROW("MODEL.BACKEND", STRING, "cpu",
        "What computes: cpu (oneDNN), cuda (NVIDIA GPUs, one per rank), or ref (plain loops: slow, for tests).",
        ONE_OF("cpu cuda ref", "")),
    ROW("MODEL.CUDA.GRAPHS", BOOL, "True",
        "On GPUs: the calls of a step are recorded once as CUDA graphs and then launched as a whole. False launches "
        "them one by one; the bits are the same.", ANY),
    ROW("MODEL.CUDA.NUMA", BOOL, "True",
        "On GPUs: a rank runs on the cores beside its GPU and takes its memory there, where the machine tells which these "
        "are. False leaves that to the launcher.", ANY),
    ROW("MODEL.CUDA.TF32", BOOL, "False",
        "On GPUs: float32 convolutions and linear layers may round their factors to tf32 (10 bits) and use tensor "
        "cores; products are then off by up to 1e-3. Other backends compute in float32 whatever it says.", ANY),
    ROW("MODEL.CONVOLUTION", STRING, "auto",
        "How 3x3 convolutions are computed: auto (direct or Winograd, as measured once on this machine), rule "
        "(Winograd by a rule of shapes) or direct.", ONE_OF("auto rule direct", "")),
    ROW("MODEL.RECOMPUTE", STRING, "block",
        "What backward computes anew instead of keeping it from forward, to save memory: none, norm (batch norms), block "
        "(also every second end of a residual block) or stage (every end). The bits of a training stay the same.",
        ONE_OF("none norm block stage", "")),
    ROW("MODEL.META_ARCHITECTURE", STRING, "Baseline",
        "The whole network: backbone, head and losses put together.", ONE_OF("Baseline", "MGN MoCo Distiller")),
    ROW("MODEL.FREEZE_LAYERS", STRING_LIST, "[]",
        "Layers that stay as they are during the first SOLVER.FREEZE_ITERS iterations.", COUNT(0, 64)),
    ROW("MODEL.QUEUE_SIZE", INT, "8192",
        "Number of features that MoCo remembers.", AT_LEAST(1)),
    ROW("MODEL.WEIGHTS", STRING, "",
        "A checkpoint whose weights the training starts from, or that --eval-only evaluates.", ANY),
    ROW("MODEL.PIXEL_MEAN", FLOAT_LIST, "[123.675, 116.28, 103.53]",
        "Subtracted from red, green and blue (0 to 255).", RANGE(-65536, 65536), COUNT(3, 3)),
    ROW("MODEL.PIXEL_STD", FLOAT_LIST, "[58.395, 57.120000000000005, 57.375]",
        "What red, green and blue are divided by after the mean is subtracted.", ABOVE(0), COUNT(3, 3)),

    /* The backbone */
    ROW("MODEL.BACKBONE.NAME", STRING, "build_resnet_backbone",
        "The network that turns an image into a map of features.", BACKBONES),
    ROW("MODEL.BACKBONE.DEPTH", STRING, "50x",
        "Size of the ResNet.", ONE_OF("18x 34x 50x 101x", "")),
    ROW("MODEL.BACKBONE.LAST_STRIDE", INT, "1",
        "Stride of the last stage; 1 keeps a larger map of features.", RANGE(1, 2)),
    ROW("MODEL.BACKBONE.FEAT_DIM", INT, "2048",
        "Channels of the last stage: 512 for depths 18x and 34x, 2048 for 50x and 101x, at WIDTH 64.", RANGE(1, 65536)),
    ROW("MODEL.BACKBONE.WIDTH", INT, "64",
        "Channels of the first stage; each stage after it has twice those of the one before. FEAT_DIM follows it.",
        RANGE(1, 1024)),
    ROW("MODEL.BACKBONE.NORM", STRING, "BN",
        "Normalisation layers of the backbone.", NORMS),
    ROW("MODEL.BACKBONE.WITH_IBN", BOOL, "False",
        "Instance normalisation in half of the channels of the first stages (IBN-a).", UNSUPPORTED(NULL)),
    ROW("MODEL.BACKBONE.WITH_SE", BOOL, "False",
        "Squeeze-and-excitation in every block.", UNSUPPORTED(NULL)),
    ROW("MODEL.BACKBONE.WITH_NL", BOOL, "False",
        "Non-local blocks in the middle stages.", UNSUPPORTED(NULL)),
    ROW("MODEL.BACKBONE.SIE_COE", FLOAT, "3.0",
        "Vision transformer: weight of the camera embedding.", AT_LEAST(0)),
    ROW("MODEL.BACKBONE.STRIDE_SIZE", INT_LIST, "[16, 16]",
        "Vision transformer: step between patches, in pixels.", SIDES),
    ROW("MODEL.BACKBONE.DROP_PATH_RATIO", FLOAT, "0.1",
        "Vision transformer: probability that a block is skipped.", PROBABILITY),
    ROW("MODEL.BACKBONE.DROP_RATIO", FLOAT, "0.0",
        "Vision transformer: probability that a value is dropped.", PROBABILITY),
    ROW("MODEL.BACKBONE.ATT_DROP_RATE", FLOAT, "0.0",
        "Vision transformer: probability that an attention weight is dropped.", PROBABILITY),
    ROW("MODEL.BACKBONE.PRETRAIN", BOOL, "False",
        "Fetch ImageNet weights for the backbone from the web.",
        UNSUPPORTED("nothing is fetched from the web, give the weights with MODEL.WEIGHTS")),
    ROW("MODEL.BACKBONE.PRETRAIN_PATH", STRING, "",
        "A file of ImageNet weights for the backbone.", UNSUPPORTED("give the weights with MODEL.WEIGHTS")),

    /* The head */
    ROW("MODEL.HEADS.NAME", STRING, "EmbeddingHead",
        "What turns the map of features into an embedding and class scores.", ONE_OF("EmbeddingHead", "ClasHead")),
    ROW("MODEL.HEADS.NORM", STRING, "BN",
        "Normalisation layer of the head.", NORMS),
    ROW("MODEL.HEADS.NUM_CLASSES", INT, "0",
        "Number of identities; 0 takes it from the training data.", RANGE(0, 100000000)),
    ROW("MODEL.HEADS.EMBEDDING_DIM", INT, "0",
        "Length of the embedding; 0 keeps the backbone's features.", RANGE(0, 65536)),
    ROW("MODEL.HEADS.WITH_BNNECK", BOOL, "False",
        "Batch normalisation between the features and the classifier.", ANY),
    ROW("MODEL.HEADS.NECK_FEAT", STRING, "before",
        "Which features the triplet loss sees: before or after the batch normalisation of the neck.",
        ONE_OF("before after", "")),
    ROW("MODEL.HEADS.POOL_LAYER", STRING, "GlobalAvgPool",
        "How the map of features becomes one vector.",
        ONE_OF("GlobalAvgPool FastGlobalAvgPool", "GlobalMaxPool GeneralizedMeanPooling GeneralizedMeanPoolingP "
               "AdaptiveAvgMaxPool ClipGlobalAvgPool Identity Flatten")),
    ROW("MODEL.HEADS.CLS_LAYER", STRING, "Linear",
        "The classifier.", ONE_OF("Linear", "ArcSoftmax CosSoftmax CircleSoftmax")),
    ROW("MODEL.HEADS.MARGIN", FLOAT, "0.0",
        "Margin of the classifiers with one (ArcSoftmax, CosSoftmax, CircleSoftmax).", AT_LEAST(0)),
    ROW("MODEL.HEADS.SCALE", INT, "1",
        "The classifier's scores are multiplied by it.", RANGE(1, 65536)),

    /* The losses */
    ROW("MODEL.LOSSES.NAME", STRING_LIST, "('CrossEntropyLoss',)",
        "The losses; the total is their sum.",
        ONE_OF("CrossEntropyLoss TripletLoss", "CircleLoss Cosface FocalLoss"), COUNT(1, 8)),
    ROW("MODEL.LOSSES.CE.EPSILON", FLOAT, "0.0",
        "Cross entropy: label smoothing; 0 is none, -1 adapts it to the probability of the label.", RANGE(-1, 1)),
    ROW("MODEL.LOSSES.CE.ALPHA", FLOAT, "0.2",
        "Cross entropy: factor of the adaptive smoothing.", PROBABILITY),
    ROW("MODEL.LOSSES.CE.SCALE", FLOAT, "1.0",
        "Cross entropy: weight in the total loss.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.FL.ALPHA", FLOAT, "0.25",
        "Focal loss: weight of the classes.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.FL.GAMMA", INT, "2",
        "Focal loss: exponent.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.FL.SCALE", FLOAT, "1.0",
        "Focal loss: weight in the total loss.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.TRI.MARGIN", FLOAT, "0.3",
        "Triplet loss: margin; 0 asks for the soft margin.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.TRI.NORM_FEAT", BOOL, "False",
        "Triplet loss: cosine distance between normalised features instead of the Euclidean one.", ANY),
    ROW("MODEL.LOSSES.TRI.HARD_MINING", BOOL, "False",
        "Triplet loss: the hardest positive and negative of each image instead of weighted ones.", ANY),
    ROW("MODEL.LOSSES.TRI.SCALE", FLOAT, "1.0",
        "Triplet loss: weight in the total loss.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.CIRCLE.MARGIN", FLOAT, "0.25",
        "Circle loss: margin.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.CIRCLE.GAMMA", INT, "128",
        "Circle loss: scale of the similarities.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.CIRCLE.SCALE", FLOAT, "1.0",
        "Circle loss: weight in the total loss.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.COSFACE.MARGIN", FLOAT, "0.25",
        "Cosface loss: margin.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.COSFACE.GAMMA", INT, "128",
        "Cosface loss: scale of the similarities.", AT_LEAST(0)),
    ROW("MODEL.LOSSES.COSFACE.SCALE", FLOAT, "1.0",
        "Cosface loss: weight in the total loss.", AT_LEAST(0)),

    /* Knowledge distillation */
    ROW("KD.MODEL_CONFIG", STRING_LIST, "[]",
        "Distillation: configuration files of the teachers.", UNSUPPORTED(NULL)),
    ROW("KD.MODEL_WEIGHTS", STRING_LIST, "[]",
        "Distillation: weights of the teachers.", UNSUPPORTED(NULL)),
    ROW("KD.EMA.ENABLED", BOOL, "False",
        "Distillation: the running average of the network is a teacher too.", UNSUPPORTED(NULL)),
    ROW("KD.EMA.MOMENTUM", FLOAT, "0.999",
        "Distillation: momentum of that average.", PROBABILITY),

    /* The way of an image into the network */
    ROW("INPUT.SIZE_TRAIN", INT_LIST, "[256, 128]",
        "Height and width of the images in training, in pixels.", SIDES),
    ROW("INPUT.SIZE_TEST", INT_LIST, "[256, 128]",
        "Height and width of the images in evaluation, in pixels.", SIDES),
    ROW("INPUT.CROP.ENABLED", BOOL, "False",
        "Random resized crop in training, centre crop in evaluation.", UNSUPPORTED(NULL)),
    ROW("INPUT.CROP.SIZE", INT_LIST, "[224, 224]",
        "Height and width of the crop, in pixels.", SIDES),
    ROW("INPUT.CROP.SCALE", FLOAT_LIST, "[0.16, 1.0]",
        "Smallest and largest part of the image's area that a crop takes.", PROBABILITY, COUNT(2, 2)),
    ROW("INPUT.CROP.RATIO", FLOAT_LIST, "[0.75, 1.3333333333333333]",
        "Smallest and largest ratio of a crop's width to its height.", ABOVE(0), COUNT(2, 2)),
    ROW("INPUT.FLIP.ENABLED", BOOL, "False",
        "Random horizontal flip in training.", ANY),
    ROW("INPUT.FLIP.PROB", FLOAT, "0.5",
        "Probability of a flip.", PROBABILITY),
    ROW("INPUT.PADDING.ENABLED", BOOL, "False",
        "A border around the image, then a random crop of the image's size, in training.", ANY),
    ROW("INPUT.PADDING.MODE", STRING, "constant",
        "What fills the border.", ONE_OF("constant edge reflect symmetric", "")),
    ROW("INPUT.PADDING.SIZE", INT, "10",
        "Width of the border, in pixels.", RANGE(0, 1024)),
    ROW("INPUT.CJ.ENABLED", BOOL, "False",
        "Random changes of the colours in training.", UNSUPPORTED(NULL)),
    ROW("INPUT.CJ.PROB", FLOAT, "0.5",
        "Probability that the colours change.", PROBABILITY),
    ROW("INPUT.CJ.BRIGHTNESS", FLOAT, "0.15",
        "Largest change of the brightness.", AT_LEAST(0)),
    ROW("INPUT.CJ.CONTRAST", FLOAT, "0.15",
        "Largest change of the contrast.", AT_LEAST(0)),
    ROW("INPUT.CJ.SATURATION", FLOAT, "0.1",
        "Largest change of the saturation.", AT_LEAST(0)),
    ROW("INPUT.CJ.HUE", FLOAT, "0.1",
        "Largest change of the hue, in turns.", RANGE(0, 0.5)),
    ROW("INPUT.AFFINE.ENABLED", BOOL, "False",
        "Random rotation, scale and shear in training.", UNSUPPORTED(NULL)),
    ROW("INPUT.AUTOAUG.ENABLED", BOOL, "False",
        "AutoAugment's ImageNet policy in training.", UNSUPPORTED(NULL)),
    ROW("INPUT.AUTOAUG.PROB", FLOAT, "0.0",
        "Probability of AutoAugment.", PROBABILITY),
    ROW("INPUT.AUGMIX.ENABLED", BOOL, "False",
        "AugMix in training.", UNSUPPORTED(NULL)),
    ROW("INPUT.AUGMIX.PROB", FLOAT, "0.0",
        "Probability of AugMix.", PROBABILITY),
    ROW("INPUT.REA.ENABLED", BOOL, "False",
        "Random erasing in training.", ANY),
    ROW("INPUT.REA.PROB", FLOAT, "0.5",
        "Probability that a part of the image is erased.", PROBABILITY),
    ROW("INPUT.REA.VALUE", FLOAT_LIST, "[123.675, 116.28, 103.53]",
        "Red, green and blue (0 to 255) of the erased part.", RANGE(-65536, 65536), COUNT(3, 3)),
    ROW("INPUT.RPT.ENABLED", BOOL, "False",
        "Random patches of other images in training.", UNSUPPORTED(NULL)),
    ROW("INPUT.RPT.PROB", FLOAT, "0.5",
        "Probability of a random patch.", PROBABILITY),

    /* The data */
    ROW("DATASETS.ROOT", STRING, "",
        "Folder of the data sets; \"\" takes $FASTREID_DATASETS, else the folder \"datasets\".", ANY),
    ROW("DATASETS.NAMES", STRING_LIST, "('Market1501',)",
        "Data sets to train on, together.", DATASETS, COUNT(1, 64)),
    ROW("DATASETS.TESTS", STRING_LIST, "('Market1501',)",
        "Data sets to evaluate on, one after the other.", DATASETS, COUNT(0, 64)),
    ROW("DATASETS.COMBINEALL", BOOL, "False",
        "Train on the query and gallery images too.", ANY),
    ROW("DATALOADER.SAMPLER_TRAIN", STRING, "TrainingSampler",
        "How images are chosen: all in random order, or so many of each identity.",
        ONE_OF("TrainingSampler NaiveIdentitySampler BalancedIdentitySampler",
               "SetReWeightSampler ImbalancedDatasetSampler")),
    ROW("DATALOADER.NUM_INSTANCE", INT, "4",
        "Images of each identity in a batch, for the identity samplers.", RANGE(1, 65536)),
    ROW("DATALOADER.NUM_WORKERS", INT, "8",
        "Threads that decode and transform images, on each rank.", RANGE(0, 256)),
    ROW("DATALOADER.CACHE_MB", INT, "512",
        "Mebibytes of decoded and resized images kept in memory on each rank, for training and for each test set; 0 for none.",
        RANGE(0, 16777216)),
    ROW("DATALOADER.SET_WEIGHT", INT_LIST, "[]",
        "Identities of each data set in a batch, for SetReWeightSampler.", AT_LEAST(0), COUNT(0, 64)),

    /* The solver */
    ROW("SOLVER.AMP.ENABLED", BOOL, "False",
        "Mixed precision: 16 bits for activations and convolutions, with float32 weights.", ANY),
    ROW("SOLVER.AMP.DTYPE", STRING, "bf16",
        "The 16 bits of mixed precision: bf16, on GPUs and on a CPU that has it, or fp16, on GPUs, with dynamic loss scaling.",
        ONE_OF("bf16 fp16", "")),
    ROW("SOLVER.AMP.LOSS_SCALE", FLOAT, "65536.0",
        "fp16: what the loss is multiplied by before backward, at first; halved when a gradient overflows, and that step is "
        "left out.", RANGE(1, 1e30)),
    ROW("SOLVER.AMP.GROWTH_INTERVAL", INT, "2000",
        "fp16: steps without an overflow after which the loss scale is doubled.", RANGE(1, 1000000000)),
    ROW("SOLVER.OPT", STRING, "Adam",
        "The optimizer.",
        ONE_OF("Adam AdamW SGD", "ASGD Adadelta Adagrad Adamax LBFGS NAdam RAdam RMSprop Rprop SparseAdam Lamb")),
    ROW("SOLVER.MAX_EPOCH", INT, "120",
        "Number of epochs.", RANGE(1, 1000000)),
    ROW("SOLVER.BASE_LR", FLOAT, "0.0003",
        "Learning rate after the warm-up.", RANGE(0, 1000)),
    ROW("SOLVER.HEADS_LR_FACTOR", FLOAT, "1.0",
        "The head's learning rate in units of SOLVER.BASE_LR.", AT_LEAST(0)),
    ROW("SOLVER.MOMENTUM", FLOAT, "0.9",
        "Momentum of SGD.", PROBABILITY),
    ROW("SOLVER.NESTEROV", BOOL, "False",
        "Nesterov's momentum in SGD.", ANY),
    ROW("SOLVER.WEIGHT_DECAY", FLOAT, "0.0005",
        "Weight decay (an L2 term of the gradient).", AT_LEAST(0)),
    ROW("SOLVER.WEIGHT_DECAY_NORM", FLOAT, "0.0005",
        "Weight decay of the weights of normalisation layers.", AT_LEAST(0)),
    ROW("SOLVER.BIAS_LR_FACTOR", FLOAT, "1.0",
        "The learning rate of biases in units of SOLVER.BASE_LR.", AT_LEAST(0)),
    ROW("SOLVER.WEIGHT_DECAY_BIAS", FLOAT, "0.0005",
        "Weight decay of biases.", AT_LEAST(0)),
    ROW("SOLVER.SCHED", STRING, "MultiStepLR",
        "How the learning rate falls from epoch to epoch.", ONE_OF("MultiStepLR CosineAnnealingLR", "")),
    ROW("SOLVER.DELAY_EPOCHS", INT, "0",
        "Epochs before the learning rate begins to fall.", RANGE(0, 1000000)),
    ROW("SOLVER.GAMMA", FLOAT, "0.1",
        "MultiStepLR: the learning rate is multiplied by it at every step.", AT_LEAST(0)),
    ROW("SOLVER.STEPS", INT_LIST, "[30, 55]",
        "MultiStepLR: epochs of the steps, ascending, counted from the end of the warm-up.",
        RANGE(0, 1000000), COUNT(0, 256)),
    ROW("SOLVER.ETA_MIN_LR", FLOAT, "1e-07",
        "CosineAnnealingLR: the learning rate at the end.", AT_LEAST(0)),
    ROW("SOLVER.WARMUP_FACTOR", FLOAT, "0.1",
        "The warm-up begins with the learning rate times this.", PROBABILITY),
    ROW("SOLVER.WARMUP_ITERS", INT, "1000",
        "Iterations of the warm-up; 0 for none.", RANGE(0, 1000000000)),
    ROW("SOLVER.WARMUP_METHOD", STRING, "linear",
        "How the learning rate rises in the warm-up.", ONE_OF("linear constant exp", "")),
    ROW("SOLVER.FREEZE_ITERS", INT, "0",
        "Iterations during which MODEL.FREEZE_LAYERS stay as they are.", RANGE(0, 1000000000)),
    ROW("SOLVER.CHECKPOINT_PERIOD", INT, "20",
        "Epochs between checkpoints; 0 keeps only the last one.", RANGE(0, 1000000)),
    ROW("SOLVER.IMS_PER_BATCH", INT, "64",
        "Images of a training batch, over all ranks.", RANGE(1, 1048576)),
    ROW("SOLVER.CLIP_GRADIENTS.ENABLED", BOOL, "False",
        "Bound the gradients.", ANY),
    ROW("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", STRING, "norm",
        "Bound each value of a gradient, or the norm of the whole.", ONE_OF("norm value", "")),
    ROW("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", FLOAT, "5.0",
        "The bound.", ABOVE(0)),
    ROW("SOLVER.CLIP_GRADIENTS.NORM_TYPE", FLOAT, "2.0",
        "The p of the norm; .inf for the largest absolute value.", AT_LEAST(1)),

    /* Evaluation */
    ROW("TEST.EVAL_PERIOD", INT, "20",
        "Epochs between evaluations; 0 for never.", RANGE(0, 1000000)),
    ROW("TEST.IMS_PER_BATCH", INT, "64",
        "Images of a batch in evaluation, over all ranks.", RANGE(1, 1048576)),
    ROW("TEST.METRIC", STRING, "cosine",
        "Distance between features.", ONE_OF("cosine euclidean", "jaccard")),
    ROW("TEST.ROC.ENABLED", BOOL, "False",
        "Also report true positive rates at given false positive rates.", UNSUPPORTED(NULL)),
    ROW("TEST.FLIP.ENABLED", BOOL, "False",
        "The feature of an image is the mean of its own and its mirror image's.", UNSUPPORTED(NULL)),
    ROW("TEST.AQE.ENABLED", BOOL, "False",
        "Average query expansion.", UNSUPPORTED(NULL)),
    ROW("TEST.AQE.ALPHA", FLOAT, "3.0",
        "Query expansion: exponent of the weights.", AT_LEAST(0)),
    ROW("TEST.AQE.QE_TIME", INT, "1",
        "Query expansion: number of rounds.", RANGE(1, 1000)),
    ROW("TEST.AQE.QE_K", INT, "5",
        "Query expansion: number of neighbours.", RANGE(1, 1000000)),
    ROW("TEST.RERANK.ENABLED", BOOL, "False",
        "Re-ranking by k-reciprocal neighbours.", ANY),
    ROW("TEST.RERANK.K1", INT, "20",
        "Re-ranking: number of neighbours.", RANGE(1, 1000000)),
    ROW("TEST.RERANK.K2", INT, "6",
        "Re-ranking: number of neighbours in the query expansion.", RANGE(1, 1000000)),
    ROW("TEST.RERANK.LAMBDA", FLOAT, "0.3",
        "Re-ranking: weight of the original distance.", PROBABILITY),
    ROW("TEST.PRECISE_BN.ENABLED", BOOL, "False",
        "Measure the statistics of batch normalisation anew before the last evaluation.", UNSUPPORTED(NULL)),
    ROW("TEST.PRECISE_BN.DATASET", STRING, "Market1501",
        "Data set for that measurement.", DATASETS),
    ROW("TEST.PRECISE_BN.NUM_ITER", INT, "300",
        "Batches for that measurement.", RANGE(1, 1000000)),

    /* The run */
    ROW("OUTPUT_DIR", STRING, "logs/",
        "Folder for logs, metrics and checkpoints.", ANY),
    ROW("SEED", INT, "0",
        "Seed of all random numbers; -1 draws one.", AT_LEAST(-1)),
    ROW("CUDNN_BENCHMARK", BOOL, "False",
        "fast-reid's switch for cuDNN. No effect here: convolutions take cuDNN's own first choice that is deterministic.", ANY),
    ROW("COMM.BUCKET_MB", INT, "25",
        "Size of the buckets in which gradients are summed over the ranks, in MiB.", RANGE(1, 1024)),
    ROW("COMM.COMPRESSION", STRING, "none",
        "What gradients are sent as between GPUs: none (float32), bf16 or fp16 (half the bytes, rounded).",
        ONE_OF("none bf16 fp16", "")),
    ROW("COMM.FIRST_BUCKET_MB", INT, "1",
        "Size of the first bucket, in MiB; a small one starts the sum early.", RANGE(1, 1024)),
    ROW("COMM.TIMEOUT_S", INT, "600",
        "Seconds that a rank waits for the others before the job is given up.", RANGE(1, 86400)),
};
/* clang-format on */

static const char *const TYPE_NAMES[] = {
    [REID_CONFIG_BOOL] = "bool",
    [REID_CONFIG_INT] = "int",
    [REID_CONFIG_FLOAT] = "float",
    [REID_CONFIG_STRING] = "string",
    [REID_CONFIG_INT_LIST] = "list of int",
    [REID_CONFIG_FLOAT_LIST] = "list of float",
    [REID_CONFIG_STRING_LIST] = "list of string",
};

size_t reid_config_key_count(void)
{
    return REID_COUNT_OF(ROWS);
}

const reid_config_row *reid_config_row_at(size_t i)
{
    REID_ASSERT(i < REID_COUNT_OF(ROWS));
    return &ROWS[i];
}

int reid_config_key_find(const char *key)
{
    for (size_t i = 0; i < REID_COUNT_OF(ROWS); i++) {
        if (strcmp(ROWS[i].name, key) == 0)
            return (int)i;
    }
    return -1;
}

bool reid_config_is_section(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < REID_COUNT_OF(ROWS); i++) {
        if (strncmp(ROWS[i].name, name, length) == 0 && ROWS[i].name[length] == '.')
            return true;
    }
    return false;
}

/* A hint farther away than this would rather confuse. */
static size_t farthest_hint(const char *name)
{
    size_t third = strlen(name) / 3;
    return third > 2 ? third : 2;
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* "BASE_LR" and "MODEL.BASE_LR" are SOLVER.BASE_LR put into the wrong section, if that last part is
 * unique. */
static const char *key_with_last_part(const char *key)
{
    const char *found = NULL;
    for (size_t i = 0; i < REID_COUNT_OF(ROWS); i++) {
        if (reid_str_distance(last_part(ROWS[i].name), last_part(key)) != 0)
            continue;
        if (found)
            return NULL;
        found = ROWS[i].name;
    }
    return found;
}

const char *reid_config_key_nearest(const char *key)
{
    const char *nearest = NULL;
    size_t best = farthest_hint(key) + 1;
    for (size_t i = 0; i < REID_COUNT_OF(ROWS); i++) {
        size_t distance = reid_str_distance(ROWS[i].name, key);
        if (distance < best) {
            best = distance;
            nearest = ROWS[i].name;
        }
    }
    /* A slip of the finger is closer than a wrong section, and a wrong section closer than anything
     * else. */
    const char *moved = best <= 2 ? NULL : key_with_last_part(key);
    return moved ? moved : nearest;
}

const char *reid_config_section_nearest(const char *name, char *buffer, size_t size)
{
    size_t best = farthest_hint(name) + 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < REID_COUNT_OF(ROWS); i++) {
        const char *full = ROWS[i].name;
        for (const char *dot = strchr(full, '.'); dot; dot = strchr(dot + 1, '.')) {
            char section[64];
            snprintf(section, sizeof section, "%.*s", (int)(dot - full), full);
            size_t distance = reid_str_distance(section, name);
            if (distance >= best)
                continue;
            best = distance;
            snprintf(buffer, size, "%s", section);
            nearest = buffer;
        }
    }
    return nearest;
}

const char *reid_config_key_name(size_t i)
{
    return reid_config_row_at(i)->name;
}

const char *reid_config_key_help(size_t i)
{
    return reid_config_row_at(i)->help;
}

reid_config_type reid_config_key_type(size_t i)
{
    return reid_config_row_at(i)->type;
}

const char *reid_config_key_type_name(size_t i)
{
    return TYPE_NAMES[reid_config_row_at(i)->type];
}

const char *reid_config_key_default(size_t i)
{
    return reid_config_row_at(i)->fallback;
}
