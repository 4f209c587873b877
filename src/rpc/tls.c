#include "rpc/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "rpc/secure.h"
#include "rpc/tls_impl.h"

#define LOOK_NS 1000000000LL          /* the files are not looked at more often */
#define WARN_NS (24 * 3600 * LOOK_NS) /* nor the log told that a certificate ends soon */
enum { MAX_CHAIN = 2 };               /* authorities between a certificate and ca.pem */

/* ---- names and roles ---- */

bool reid_rpc_role_is_known(const char *role)
{
    static const char *const roles[] = {"node", "viewer", "operator", "admin"};
    for (size_t i = 0; i < REID_COUNT_OF(roles); i++)
        if (strcmp(role, roles[i]) == 0)
            return true;
    return false;
}

bool reid_rpc_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < REID_RPC_NAME_BYTES && name[0] != '-' && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@") ==
               length;
}

/* The only entry of a kind in the subject, as UTF-8; false when there is none, several, or one that
 * is too long or has a NUL byte in it. */
static bool read_entry(const X509 *certificate, int nid, char *buffer, size_t buffer_bytes)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, nid, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, nid, at) >= 0)
        return false;
    unsigned char *text = NULL;
    int length =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool fits =
        length > 0 && (size_t)length < buffer_bytes && strlen((char *)text) == (size_t)length;
    if (fits)
        memcpy(buffer, text, (size_t)length + 1);
    OPENSSL_free(text);
    return fits;
}

reid_status reid_rpc_tls_read_subject(const X509 *certificate, reid_rpc_peer *ret_peer,
                                      reid_error *err)
{
    reid_rpc_peer peer = *ret_peer;
    if (!read_entry(certificate, NID_commonName, peer.name, sizeof peer.name) ||
        !reid_rpc_name_is_valid(peer.name))
        return reid_fail(err, REID_ERR_INVALID, "its certificate has no usable name (CN)");
    if (!read_entry(certificate, NID_organizationalUnitName, peer.role, sizeof peer.role) ||
        !reid_rpc_role_is_known(peer.role))
        return reid_fail(err, REID_ERR_INVALID,
                         "its certificate has no role that is known (OU: node, viewer, operator or "
                         "admin)");
    struct tm until;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &until) == 1)
        peer.until_s = (int64_t)timegm(&until);
    *ret_peer = peer;
    return REID_OK;
}

/* ---- files ---- */

int reid_rpc_no_password(char *buffer, int size, int writing, void *user)
{
    return -1;
}

static reid_status open_file(const char *dir, const char *name, char **ret_path, BIO **ret_bio,
                             reid_error *err)
{
    char *path = reid_xasprintf("%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    reid_status status = REID_OK;
    if (fd < 0 || fstat(fd, &st) != 0)
        status = reid_fail_errno(err, errno, "cannot open '%s'", path);
    else if (!S_ISREG(st.st_mode))
        status = reid_fail(err, REID_ERR_INVALID, "'%s' is not a file", path);
    else if (strcmp(name, "key.pem") == 0 && (st.st_mode & 077) != 0)
        status = reid_fail(err, REID_ERR_PERMISSION,
                           "others than its owner may use the key '%s'; change that with chmod 600",
                           path);
    FILE *file = status == REID_OK ? fdopen(fd, "r") : NULL;
    if (!file && status == REID_OK)
        status = reid_fail_errno(err, errno, "cannot open '%s'", path);
    if (status == REID_OK) {
        *ret_bio = BIO_new_fp(file, BIO_CLOSE);
        *ret_path = path;
        return REID_OK;
    }
    if (fd >= 0)
        close(fd);
    free(path);
    return status;
}

static reid_status load_authority(SSL_CTX *context, const char *dir, reid_error *err)
{
    char *path;
    BIO *bio;
    REID_TRY(open_file(dir, "ca.pem", &path, &bio, err));
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    reid_status status = REID_OK;
    unsigned count = 0;
    for (X509 *ca; (ca = PEM_read_bio_X509(bio, NULL, reid_rpc_no_password, NULL)) != NULL;
         count++) {
        if (status == REID_OK && X509_check_ca(ca) == 0)
            status = reid_fail(err, REID_ERR_INVALID,
                               "'%s' holds a certificate that is not an authority's", path);
        bool added = X509_STORE_add_cert(store, ca) == 1 && SSL_CTX_add_client_CA(context, ca) == 1;
        if (status == REID_OK && !added)
            status = reid_fail(err, REID_ERR_INVALID, "cannot use the certificates in '%s'", path);
        X509_free(ca);
    }
    if (status == REID_OK &&
        (count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE))
        status = reid_fail(err, REID_ERR_INVALID, "'%s' holds %s in PEM form", path,
                           count == 0 ? "no certificate" : "something that is no certificate");
    BIO_free(bio);
    free(path);
    return status;
}

static reid_status load_certificate(SSL_CTX *context, const char *dir, reid_error *err)
{
    char *path;
    BIO *bio;
    REID_TRY(open_file(dir, "cert.pem", &path, &bio, err));
    reid_status status = REID_OK;
    X509 *own = PEM_read_bio_X509(bio, NULL, reid_rpc_no_password, NULL);
    if (!own || SSL_CTX_use_certificate(context, own) != 1)
        status = reid_fail(err, REID_ERR_INVALID, "'%s' holds no certificate in PEM form", path);
    X509_free(own);
    for (X509 *more; status == REID_OK &&
                     (more = PEM_read_bio_X509(bio, NULL, reid_rpc_no_password, NULL)) != NULL;)
        SSL_CTX_add0_chain_cert(context, more);
    BIO_free(bio);
    free(path);
    return status;
}

static reid_status load_key(SSL_CTX *context, const char *dir, reid_error *err)
{
    char *path;
    BIO *bio;
    REID_TRY(open_file(dir, "key.pem", &path, &bio, err));
    reid_status status = REID_OK;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, reid_rpc_no_password, NULL);
    if (!key)
        status = reid_fail(err, REID_ERR_INVALID,
                           "'%s' holds no private key in PEM form without a password", path);
    else if (SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1)
        status = reid_fail(err, REID_ERR_INVALID, "the key '%s' is not that of cert.pem", path);
    EVP_PKEY_free(key);
    BIO_free(bio);
    free(path);
    return status;
}

/* No file: nothing was revoked. */
static reid_status load_revoked(SSL_CTX *context, const char *dir, reid_error *err)
{
    REID_AUTOFREE char *there = reid_xasprintf("%s/crl.pem", dir);
    if (access(there, F_OK) != 0 && errno == ENOENT)
        return REID_OK;
    char *path;
    BIO *bio;
    REID_TRY(open_file(dir, "crl.pem", &path, &bio, err));
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_CRL *list = PEM_read_bio_X509_CRL(bio, NULL, reid_rpc_no_password, NULL);
    reid_status status = REID_OK;
    if (!list || X509_STORE_add_crl(store, list) != 1 ||
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) != 1)
        status = reid_fail(err, REID_ERR_INVALID,
                           "'%s' holds no list of revoked certificates in PEM form", path);
    X509_CRL_free(list);
    BIO_free(bio);
    free(path);
    return status;
}

/* What every peer would find wrong is better said now. */
static reid_status check_own(SSL_CTX *context, const char *dir, reid_rpc_peer *ret_self,
                             reid_error *err)
{
    X509 *own = SSL_CTX_get0_certificate(context);
    reid_error why = {0};
    if (reid_rpc_tls_read_subject(own, ret_self, &why) != REID_OK)
        return reid_fail(err, REID_ERR_INVALID, "cannot use '%s/cert.pem': %s", dir, why.text);
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(context, &chain);
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    bool good =
        check && X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context), own, chain) == 1;
    if (good)
        X509_STORE_CTX_set_purpose(check, X509_PURPOSE_SSL_CLIENT);
    good = good && X509_verify_cert(check) == 1;
    if (!good)
        reid_fail(err, REID_ERR_INVALID, "cannot use '%s/cert.pem': %s", dir,
                  check ? X509_verify_cert_error_string(X509_STORE_CTX_get_error(check))
                        : "there is no memory");
    X509_STORE_CTX_free(check);
    return good ? REID_OK : REID_ERR_INVALID;
}

/* A node's certificate that ends unnoticed ends the node's part in the cluster. */
static void warn_of_end(const reid_rpc_peer *self)
{
    int64_t days = (self->until_s - reid_clock_wall_ms() / 1000) / 86400;
    if (strcmp(self->role, "node") == 0 && days < REID_RPC_WARN_DAYS)
        reid_log_warn("rpc certificate ends soon name=%s days=%lld", self->name, (long long)days);
}

/* ---- contexts ---- */

static bool configure(SSL_CTX *context)
{
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                     SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify_depth(context, MAX_CHAIN);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(context, reid_rpc_no_password);
    reid_rpc_secure_configure(context);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1;
}

static reid_status load(const char *dir, SSL_CTX **ret_context, reid_rpc_peer *ret_self,
                        reid_error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    reid_status status = context && configure(context)
                             ? load_authority(context, dir, err)
                             : reid_fail(err, REID_ERR_EXHAUSTED, "cannot set up TLS");
    if (status == REID_OK)
        status = load_certificate(context, dir, err);
    if (status == REID_OK)
        status = load_key(context, dir, err);
    if (status == REID_OK)
        status = load_revoked(context, dir, err);
    if (status == REID_OK)
        status = check_own(context, dir, ret_self, err);
    ERR_clear_error();
    if (status != REID_OK) {
        SSL_CTX_free(context);
        return status;
    }
    *ret_context = context;
    return REID_OK;
}

/* What the files are at the moment; a missing one is all zero. */
static void look_at_files(const char *dir, reid_rpc_tls_mark marks[REID_RPC_TLS_FILES])
{
    static const char *const names[REID_RPC_TLS_FILES] = {"ca.pem", "cert.pem", "key.pem",
                                                          "crl.pem"};
    for (size_t i = 0; i < REID_RPC_TLS_FILES; i++) {
        REID_AUTOFREE char *path = reid_xasprintf("%s/%s", dir, names[i]);
        struct stat st;
        memset(&marks[i], 0, sizeof marks[i]); /* compared as bytes */
        if (stat(path, &st) != 0)
            continue;
        marks[i].device = st.st_dev;
        marks[i].inode = st.st_ino;
        marks[i].size = st.st_size;
        marks[i].changed = st.st_ctim;
    }
}

static void warn_of_folder(const reid_rpc_tls *tls, const char *why)
{
    reid_log_warn("rpc certificates not renewed folder=%s reason=\"%s\"", tls->dir, why);
}

/* With the lock held. Files that are being replaced one by one do not fit each other for a moment;
 * they are tried again when one more of them has changed. */
static void refresh(reid_rpc_tls *tls)
{
    reid_rpc_tls_mark marks[REID_RPC_TLS_FILES];
    int64_t now_ns = reid_clock_mono_ns();
    if (now_ns - tls->looked_ns < LOOK_NS)
        return;
    tls->looked_ns = now_ns;
    if (now_ns - tls->warned_ns >= WARN_NS) {
        tls->warned_ns = now_ns;
        warn_of_end(&tls->self);
    }
    look_at_files(tls->dir, marks);
    if (memcmp(marks, tls->marks, sizeof marks) == 0)
        return;
    memcpy(tls->marks, marks, sizeof marks);
    reid_rpc_peer self = {0};
    reid_error err = {0};
    SSL_CTX *context;
    if (load(tls->dir, &context, &self, &err) != REID_OK) {
        warn_of_folder(tls, err.text);
        return;
    }
    if (strcmp(self.name, tls->self.name) != 0 || strcmp(self.role, tls->self.role) != 0) {
        warn_of_folder(tls, "cert.pem has another name or role than before");
        SSL_CTX_free(context);
        return;
    }
    SSL_CTX_free(tls->context);
    tls->context = context;
    tls->generation++;
    tls->self.until_s = self.until_s;
    warn_of_end(&self);
    reid_log_info("rpc certificates renewed folder=%s name=%s", tls->dir, tls->self.name);
}

SSL_CTX *reid_rpc_tls_context(reid_rpc_tls *tls, unsigned *ret_generation)
{
    pthread_mutex_lock(&tls->lock);
    refresh(tls);
    SSL_CTX *context = tls->context;
    SSL_CTX_up_ref(context);
    *ret_generation = tls->generation;
    pthread_mutex_unlock(&tls->lock);
    return context;
}

unsigned reid_rpc_tls_generation(reid_rpc_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    refresh(tls);
    unsigned generation = tls->generation;
    pthread_mutex_unlock(&tls->lock);
    return generation;
}

/* ---- life ---- */

reid_status reid_rpc_tls_new(const char *dir, reid_rpc_tls **ret_tls, reid_error *err)
{
    reid_rpc_tls *tls = reid_xcalloc(1, sizeof *tls);
    atomic_init(&tls->references, 1);
    pthread_mutex_init(&tls->lock, NULL);
    tls->dir = reid_path_absolute(dir);
    tls->self.uid = (uid_t)-1;
    tls->self.gid = (gid_t)-1;
    tls->method = reid_rpc_secure_method();
    tls->looked_ns = tls->warned_ns = reid_clock_mono_ns();
    look_at_files(tls->dir, tls->marks);
    reid_status status = tls->method ? load(dir, &tls->context, &tls->self, err)
                                     : reid_fail(err, REID_ERR_EXHAUSTED, "cannot set up TLS");
    if (status != REID_OK) {
        reid_rpc_tls_free(tls);
        return status;
    }
    warn_of_end(&tls->self);
    *ret_tls = tls;
    return REID_OK;
}

reid_rpc_tls *reid_rpc_tls_ref(reid_rpc_tls *tls)
{
    if (tls)
        atomic_fetch_add(&tls->references, 1);
    return tls;
}

void reid_rpc_tls_free(reid_rpc_tls *tls)
{
    if (!tls || atomic_fetch_sub(&tls->references, 1) > 1)
        return;
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->method);
    pthread_mutex_destroy(&tls->lock);
    free(tls->dir);
    free(tls);
}

const char *reid_rpc_tls_name(const reid_rpc_tls *tls)
{
    return tls->self.name;
}

int64_t reid_rpc_tls_until_s(reid_rpc_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    int64_t until_s = tls->self.until_s;
    pthread_mutex_unlock(&tls->lock);
    return until_s;
}

const char *reid_rpc_tls_role(const reid_rpc_tls *tls)
{
    return tls->self.role;
}
