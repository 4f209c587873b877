#include "daemon/join/join.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/exec/programs.h"

#define DEFAULT_PORT 7411

bool reidd_join_is_wanted(void)
{
    return getenv("OMPI_COMM_WORLD_RANK") && getenv("OMPI_COMM_WORLD_SIZE");
}

/* ---- the own address ---- */

/* Family, bytes and prefix length of "10.77.0.0/24". */
typedef struct range {
    int family, bits;
    unsigned char bytes[16];
} range;

static reid_status parse_range(const char *text, range *ret_range, reid_error *err)
{
    const char *slash = strchr(text, '/');
    REID_AUTOFREE char *base = slash ? reid_xstrndup(text, (size_t)(slash - text)) : NULL;
    int64_t bits = -1;
    *ret_range = (range){.family = strchr(text, ':') ? AF_INET6 : AF_INET};
    if (!base || inet_pton(ret_range->family, base, ret_range->bytes) != 1 ||
        reid_parse_int64(slash + 1, &bits) != REID_OK || bits < 0 ||
        bits > (ret_range->family == AF_INET ? 32 : 128))
        return reid_fail(err, REID_ERR_INVALID, "--network is such as 10.77.0.0/24, not '%s'",
                         text);
    ret_range->bits = (int)bits;
    return REID_OK;
}

static bool is_within(const range *wanted, int family, const unsigned char *bytes)
{
    int whole = wanted->bits / 8, rest = wanted->bits % 8;
    unsigned char mask = (unsigned char)(0xff00 >> rest);
    return family == wanted->family && memcmp(bytes, wanted->bytes, (size_t)whole) == 0 &&
           (rest == 0 || (bytes[whole] & mask) == (wanted->bytes[whole] & mask));
}

static const void *bytes_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    return &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
}

static bool is_usable(const struct ifaddrs *at)
{
    if (!at->ifa_addr || !(at->ifa_flags & IFF_UP) || (at->ifa_flags & IFF_LOOPBACK))
        return false;
    if (at->ifa_addr->sa_family == AF_INET6)
        return !IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)bytes_of(at->ifa_addr));
    return at->ifa_addr->sa_family == AF_INET;
}

/* Whether the host's own name leads to this address. */
static bool is_named(const struct addrinfo *named, const struct sockaddr *address)
{
    size_t size = address->sa_family == AF_INET ? 4 : 16;
    for (; named; named = named->ai_next)
        if (named->ai_family == address->sa_family &&
            memcmp(bytes_of(named->ai_addr), bytes_of(address), size) == 0)
            return true;
    return false;
}

static char *choose(const struct ifaddrs *list, const range *wanted, const struct addrinfo *named)
{
    const struct sockaddr *best = NULL;
    char text[INET6_ADDRSTRLEN];
    bool best_named = false;
    for (const struct ifaddrs *at = list; at; at = at->ifa_next) {
        if (!is_usable(at) ||
            (wanted && !is_within(wanted, at->ifa_addr->sa_family, bytes_of(at->ifa_addr))))
            continue;
        bool is_better = is_named(named, at->ifa_addr) && !best_named;
        if (best && !is_better)
            continue;
        best = at->ifa_addr;
        best_named = is_better;
    }
    if (!best || !inet_ntop(best->sa_family, bytes_of(best), text, sizeof text))
        return NULL;
    return reid_xstrdup(text);
}

reid_status reidd_join_find_address(const char *network, char **ret_address, reid_error *err)
{
    range wanted;
    struct ifaddrs *list = NULL;
    struct addrinfo *named = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char host[256] = "";
    if (network)
        REID_TRY(parse_range(network, &wanted, err));
    if (getifaddrs(&list) != 0)
        return reid_fail_errno(err, errno, "cannot list this machine's addresses");
    if (gethostname(host, sizeof host - 1) != 0 || getaddrinfo(host, NULL, &hints, &named) != 0)
        named = NULL;
    char *address = choose(list, network ? &wanted : NULL, named);
    freeifaddrs(list);
    if (named)
        freeaddrinfo(named);
    if (!address)
        return reid_fail(err, REID_ERR_NOT_FOUND,
                         "this machine has no address%s%s that other nodes could use",
                         network ? " in " : "", network ? network : "");
    *ret_address = address;
    return REID_OK;
}

/* ---- the other program ---- */

/* Options whose use is over by then. */
static bool is_for_joining(const char *word)
{
    static const char *const names[] = {"--network", "--port"};
    for (size_t i = 0; i < REID_COUNT_OF(names); i++)
        if (reid_str_starts(word, names[i]) && strchr("=", word[strlen(names[i])]))
            return true;
    return false;
}

reid_status reidd_join_exec(const reidd_options *options, int argc, char **argv, reid_error *err)
{
    REID_AUTOFREE char *program = NULL, *self = NULL, *address = NULL;
    char node[256] = "";
    if (options->cluster)
        return reid_fail(
            err, REID_ERR_INVALID,
            "mpirun makes the cluster file itself; leave --cluster out, or start reidd "
            "without mpirun");
    if (reidd_program_find("reidd-join", &program, NULL) != REID_OK)
        return reid_fail(err, REID_ERR_NOT_FOUND,
                         "mpirun cannot start this reidd: it was built without MPI; give each node "
                         "a --cluster file instead");
    self = realpath("/proc/self/exe", NULL);
    if (!self)
        return reid_fail_errno(err, errno, "cannot find this program's file");
    if (gethostname(node, sizeof node - 1) != 0)
        return reid_fail_errno(err, errno, "this host has no name");
    REID_TRY(reidd_join_find_address(options->network, &address, err));
    bool v6 = strchr(address, ':') != NULL;
    REID_AUTOFREE char *full = reid_xasprintf(v6 ? "tcp://[%s]:%d" : "tcp://%s:%d", address,
                                              options->port ? (int)options->port : DEFAULT_PORT);
    char **words = reid_xcalloc((size_t)argc + 8, sizeof *words);
    size_t used = 0;
    words[used++] = program;
    words[used++] = options->state_dir;
    words[used++] = options->socket_path;
    words[used++] = node;
    words[used++] = full;
    words[used++] = options->network ? options->network : (char *)"";
    words[used++] = self;
    for (int i = 1; i < argc; i++)
        if (is_for_joining(argv[i]))
            i += strchr(argv[i], '=') == NULL;
        else
            words[used++] = argv[i];
    words[used++] = (char *)"--take-over"; /* whoever says mpirun says who is the head */
    execv(program, words);
    int number = errno;
    free(words);
    return reid_fail_errno(err, number, "cannot execute '%s'", program);
}
