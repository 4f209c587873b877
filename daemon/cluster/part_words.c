#include "daemon/cluster/part_words.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "base/vec.h"

#define WORDS_LIMIT 192
#define WORD_BYTES 4096 /* the list of nodes may be long */

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

typedef enum value_kind {
    EXACT,  /* `text` */
    NUMBER, /* at most 10 digits */
    REGEX,  /* of nodes: "node[1:1-3]@0(3)" */
    URI,    /* of mpirun: "1228800000.0;tcp://10.77.0.1:54405" */
} value_kind;

/* Everything that Open MPI 4.1's rsh launcher gives to orted when it is told to keep its parameters
 * for itself (plm_rsh_pass_environ_mca_params=0). */
static const struct rule {
    const char *name;
    value_kind kind;
    const char *text;
    bool needed;
} rules[] = {
    {"ess", EXACT, "env", true},
    {"ess_base_jobid", NUMBER, NULL, true},
    {"ess_base_vpid", NUMBER, NULL, true},
    {"ess_base_num_procs", NUMBER, NULL, true},
    {"orte_node_regex", REGEX, NULL, false},
    {"orte_hnp_uri", URI, NULL, true},
    {"plm", EXACT, "rsh", false},
    {"orte_leave_session_attached", EXACT, "1", true},
    {"pmix", EXACT, "^s1,s2,cray,isolated", false},
};

static bool consists_of(const char *text, const char *allowed)
{
    return *text && text[strspn(text, allowed)] == '\0';
}

static bool is_in_network(const char *address, const char *network)
{
    char base[64];
    struct in_addr a, b;
    int64_t bits = 32;
    const char *slash = network ? strchr(network, '/') : NULL;
    if (!slash || (size_t)(slash - network) >= sizeof base ||
        reid_parse_int64(slash + 1, &bits) != REID_OK || bits < 0 || bits > 32)
        return false;
    memcpy(base, network, (size_t)(slash - network));
    base[slash - network] = '\0';
    if (inet_pton(AF_INET, address, &a) != 1 || inet_pton(AF_INET, base, &b) != 1)
        return false;
    uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
    return ((ntohl(a.s_addr) ^ ntohl(b.s_addr)) & mask) == 0;
}

static bool is_origin(const char *address, const reidd_part_origin *origin)
{
    struct in_addr parsed;
    if (inet_pton(AF_INET, address, &parsed) != 1)
        return false;
    if (strcmp(address, origin->host) == 0)
        return true;
    return origin->network && !is_in_network(origin->host, origin->network) &&
           is_in_network(address, origin->network);
}

/* "JOB.0;tcp://ADDRESS:PORT", one address only. */
static reid_status check_uri(const char *value, const reidd_part_origin *origin, reid_error *err)
{
    static const char middle[] = ".0;tcp://";
    char address[16] = "";
    int64_t port = 0;
    size_t digits = strspn(value, DIGITS);
    const char *at = value + digits;
    if (digits == 0 || digits > 10 || !reid_str_starts(at, middle))
        return reid_fail(err, REID_ERR_PERMISSION, "'%s' is no address of mpirun", value);
    at += sizeof middle - 1;
    size_t length = strspn(at, DIGITS ".");
    if (length == 0 || length >= sizeof address || at[length] != ':' ||
        !consists_of(at + length + 1, DIGITS) ||
        reid_parse_int64(at + length + 1, &port) != REID_OK || port < 1 || port > 65535)
        return reid_fail(err, REID_ERR_PERMISSION, "'%s' is no address of mpirun", value);
    memcpy(address, at, length);
    if (!is_origin(address, origin))
        return reid_fail(err, REID_ERR_PERMISSION, "mpirun is said to be at %s, but the head is %s",
                         address, origin->host);
    return REID_OK;
}

static reid_status check_value(const struct rule *rule, const char *value,
                               const reidd_part_origin *origin, reid_error *err)
{
    bool good = false;
    switch (rule->kind) {
    case EXACT:
        good = strcmp(value, rule->text) == 0;
        break;
    case NUMBER:
        good = consists_of(value, DIGITS) && strlen(value) <= 10;
        break;
    case REGEX:
        good = consists_of(value, LETTERS DIGITS "_.,^-:@()[]");
        break;
    case URI:
        return check_uri(value, origin, err);
    }
    if (!good)
        return reid_fail(err, REID_ERR_PERMISSION, "'%s' is no value of %s", value, rule->name);
    return REID_OK;
}

/* Without the quotes that the launcher puts around it for a shell. */
static char *unquote(const char *word)
{
    size_t length = strlen(word);
    if (length >= 2 && word[0] == '"' && word[length - 1] == '"')
        return reid_xstrndup(word + 1, length - 2);
    return reid_xstrdup(word);
}

static const struct rule *find_rule(const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(rules); i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    return NULL;
}

typedef REID_VEC(char *) word_list;

static reid_status take(char *const *words, size_t left, const reidd_part_origin *origin,
                        bool *seen, word_list *out, reid_error *err)
{
    if (strcmp(words[0], "-mca") != 0 && strcmp(words[0], "--mca") != 0)
        return reid_fail(err, REID_ERR_PERMISSION, "'%s' is not -mca NAME VALUE", words[0]);
    if (left < 3)
        return reid_fail(err, REID_ERR_PERMISSION, "-mca is without its name or value");
    const struct rule *rule = find_rule(words[1]);
    if (!rule)
        return reid_fail(err, REID_ERR_PERMISSION, "the parameter '%s' is not on the list",
                         words[1]);
    if (seen[rule - rules])
        return reid_fail(err, REID_ERR_PERMISSION, "the parameter '%s' is given twice", words[1]);
    seen[rule - rules] = true;
    char *value = unquote(words[2]);
    reid_status status = check_value(rule, value, origin, err);
    if (status != REID_OK) {
        free(value);
        return status;
    }
    reid_vec_push(out, reid_xstrdup("-mca"));
    reid_vec_push(out, reid_xstrdup(rule->name));
    reid_vec_push(out, value);
    return REID_OK;
}

static reid_status check_all(char *const *words, size_t count, const reidd_part_origin *origin,
                             word_list *out, reid_error *err)
{
    bool seen[REID_COUNT_OF(rules)] = {false};
    if (count > WORDS_LIMIT)
        return reid_fail(err, REID_ERR_PERMISSION, "there are more than %d words", WORDS_LIMIT);
    for (size_t i = 0; i < count; i++)
        if (strlen(words[i]) > WORD_BYTES)
            return reid_fail(err, REID_ERR_PERMISSION, "a word has more than %d bytes", WORD_BYTES);
    for (size_t i = 0; i < count; i += 3)
        REID_TRY(take(words + i, count - i, origin, seen, out, err));
    for (size_t i = 0; i < REID_COUNT_OF(rules); i++)
        if (rules[i].needed && !seen[i])
            return reid_fail(err, REID_ERR_PERMISSION, "the parameter '%s' is missing",
                             rules[i].name);
    return REID_OK;
}

bool reidd_part_words_is_orted(const char *word)
{
    return strcmp(word + (*word == ' '), "orted") == 0;
}

reid_status reidd_part_words_check(char *const *words, size_t count,
                                   const reidd_part_origin *origin, char ***ret_argv,
                                   reid_error *err)
{
    word_list out = {0};
    reid_status status = check_all(words, count, origin, &out, err);
    reid_vec_push(&out, NULL);
    if (status != REID_OK) {
        reid_error_prefix(err, "orted may not be started like this");
        reidd_part_words_free(out.items);
        return status;
    }
    *ret_argv = out.items;
    return REID_OK;
}

void reidd_part_words_free(char **argv)
{
    if (!argv)
        return;
    for (char **word = argv; *word; word++)
        free(*word);
    free(argv);
}
