#include "rpc/ca.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "rpc/ca_impl.h"
#include "rpc/tls_impl.h"

enum { SERIAL_BYTES = 16, EARLY_S = 300, DAY_S = 86400, MAX_DAYS = 36500, MAX_HOSTS = 100 };

void reid_rpc_authority_fini(reid_rpc_authority *ca)
{
    X509_free(ca->certificate);
    EVP_PKEY_free(ca->key);
    *ca = (reid_rpc_authority){0};
}

static reid_status library_failed(reid_error *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    reid_status status = reid_fail(err, REID_ERR_INTERNAL, "cannot %s: %s", what,
                                   reason ? reason : "the library gives no reason");
    ERR_clear_error();
    return status;
}

/* ---- files ---- */

static reid_status write_new(const char *dir, const char *name, unsigned mode, BIO *text,
                             reid_error *err)
{
    char *data;
    long size = BIO_get_mem_data(text, &data);
    REID_AUTOFREE char *path = reid_path_join(dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot make '%s'", path);
    reid_status status = reid_write_all(fd, data, (size_t)size, path, err);
    if (status == REID_OK && (fchmod(fd, mode) != 0 || fsync(fd) != 0))
        status = reid_fail_errno(err, errno, "cannot write '%s'", path);
    if (close(fd) != 0 && status == REID_OK)
        status = reid_fail_errno(err, errno, "cannot write '%s'", path);
    if (status != REID_OK)
        unlink(path);
    return status;
}

static reid_status write_certificate(const char *dir, const char *name, X509 *certificate,
                                     reid_error *err)
{
    BIO *text = BIO_new(BIO_s_mem());
    reid_status status = text && PEM_write_bio_X509(text, certificate) == 1
                             ? write_new(dir, name, 0644, text, err)
                             : library_failed(err, "write a certificate");
    BIO_free(text);
    return status;
}

static reid_status write_key(const char *dir, const char *name, EVP_PKEY *key, reid_error *err)
{
    BIO *text = BIO_new(BIO_s_secmem());
    reid_status status =
        text && PEM_write_bio_PKCS8PrivateKey(text, key, NULL, NULL, 0, NULL, NULL) == 1
            ? write_new(dir, name, 0600, text, err)
            : library_failed(err, "write a key");
    BIO_free(text);
    return status;
}

reid_status reid_rpc_authority_open(const char *dir, reid_rpc_authority *ret_ca, reid_error *err)
{
    REID_AUTOFREE char *certificate_path = reid_path_join(dir, "ca.pem");
    REID_AUTOFREE char *key_path = reid_path_join(dir, "ca-key.pem");
    reid_rpc_authority ca = {0};
    BIO *certificate = BIO_new_file(certificate_path, "re");
    BIO *key = certificate ? BIO_new_file(key_path, "re") : NULL;
    reid_status status = REID_OK;
    if (!certificate || !key) {
        status = reid_fail_errno(err, errno, "cannot open the authority's file '%s'",
                                 certificate ? key_path : certificate_path);
    } else {
        ca.certificate = PEM_read_bio_X509(certificate, NULL, reid_rpc_no_password, NULL);
        ca.key = PEM_read_bio_PrivateKey(key, NULL, reid_rpc_no_password, NULL);
        if (!ca.certificate || !ca.key || X509_check_private_key(ca.certificate, ca.key) != 1)
            status = reid_fail(err, REID_ERR_INVALID,
                               "'%s' and '%s' are not an authority's certificate and its key",
                               certificate_path, key_path);
    }
    BIO_free(certificate);
    BIO_free(key);
    ERR_clear_error();
    if (status == REID_OK)
        *ret_ca = ca;
    else
        reid_rpc_authority_fini(&ca);
    return status;
}

/* ---- certificates ---- */

static bool set_serial(X509 *certificate)
{
    unsigned char bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (unsigned char)((bytes[0] & 0x3f) | 0x40); /* positive, and always as long */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return good;
}

static bool set_subject(X509 *certificate, const char *name, const char *role)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    bool good = X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                           (const unsigned char *)"reidd", -1, -1, 0) == 1;
    if (role)
        good = good && X509_NAME_add_entry_by_txt(subject, "OU", MBSTRING_UTF8,
                                                  (const unsigned char *)role, -1, -1, 0) == 1;
    return good && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                              (const unsigned char *)name, -1, -1, 0) == 1;
}

static bool set_times(X509 *certificate, int64_t begin_s, int days, const X509 *issuer)
{
    if (!X509_time_adj_ex(X509_getm_notBefore(certificate), 0, (long)(begin_s - EARLY_S), NULL) ||
        !X509_time_adj_ex(X509_getm_notAfter(certificate), days, (long)begin_s, NULL))
        return false;
    if (!issuer ||
        ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(issuer)) <= 0)
        return true;
    return X509_set1_notAfter(certificate, X509_get0_notAfter(issuer)) == 1;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *text)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, text);
    bool good = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

/* Names are checked before: there is nothing in them that could end one. */
static bool add_hosts(X509 *certificate, const reid_rpc_ca_request *request)
{
    reid_str text = REID_STR_INIT;
    reid_str_addf(&text, "DNS:%s", request->name);
    for (size_t i = 0; i < request->host_count; i++) {
        struct in6_addr ignored;
        const char *host = request->hosts[i];
        bool numeric =
            inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1;
        if (strcmp(host, request->name) != 0)
            reid_str_addf(&text, ",%s:%s", numeric ? "IP" : "DNS", host);
    }
    bool good = add_extension(certificate, certificate, NID_subject_alt_name, reid_str_text(&text));
    reid_str_fini(&text);
    return good;
}

static bool add_uses(X509 *certificate, X509 *issuer, const reid_rpc_ca_request *request)
{
    bool for_authority = request == NULL;
    bool node = request && strcmp(request->role, "node") == 0;
    if (!add_extension(certificate, issuer, NID_basic_constraints,
                       for_authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") ||
        !add_extension(certificate, issuer, NID_key_usage,
                       for_authority ? "critical,keyCertSign,cRLSign"
                                     : "critical,digitalSignature") ||
        !add_extension(certificate, issuer, NID_subject_key_identifier, "hash") ||
        !add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always"))
        return false;
    if (for_authority)
        return true;
    return add_extension(certificate, issuer, NID_ext_key_usage,
                         node ? "serverAuth,clientAuth" : "clientAuth") &&
           (!node || add_hosts(certificate, request));
}

/* `issuer` NULL: signed by itself. */
static reid_status make(const reid_rpc_authority *issuer, const char *name, int days,
                        const reid_rpc_ca_request *request, reid_rpc_authority *ret_made,
                        reid_error *err)
{
    reid_rpc_authority made = {.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
    X509 *certificate = made.certificate;
    X509 *by = issuer ? issuer->certificate : certificate;
    bool good = certificate && made.key && X509_set_version(certificate, X509_VERSION_3) == 1 &&
                set_serial(certificate) &&
                set_subject(certificate, name, request ? request->role : NULL) &&
                X509_set_issuer_name(certificate, X509_get_subject_name(by)) == 1 &&
                set_times(certificate, request ? request->begin_s : 0, days,
                          issuer ? issuer->certificate : NULL) &&
                X509_set_pubkey(certificate, made.key) == 1 && add_uses(certificate, by, request) &&
                X509_sign(certificate, issuer ? issuer->key : made.key, EVP_sha256()) > 0;
    if (!good) {
        reid_rpc_authority_fini(&made);
        return library_failed(err, "make a certificate");
    }
    *ret_made = made;
    return REID_OK;
}

/* ---- requests ---- */

static reid_status check_name_and_days(const char *name, int days, reid_error *err)
{
    if (!reid_rpc_name_is_valid(name))
        return reid_fail(err, REID_ERR_INVALID,
                         "'%s' cannot be the name in a certificate: take up to 64 of letters, "
                         "digits, '.', '-', '_' and '@'",
                         name);
    if (days < 1 || days > MAX_DAYS)
        return reid_fail(err, REID_ERR_INVALID,
                         "a certificate can be valid for 1 to %d days, not %d", MAX_DAYS, days);
    return REID_OK;
}

static bool is_host(const char *host)
{
    struct in6_addr ignored;
    if (inet_pton(AF_INET6, host, &ignored) == 1)
        return true;
    size_t length = strlen(host);
    return length > 0 && length <= 253 && host[0] != '-' && host[0] != '.' &&
           strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") ==
               length;
}

static reid_status check_request(const reid_rpc_ca_request *request, reid_error *err)
{
    REID_TRY(check_name_and_days(request->name, request->days, err));
    if (!reid_rpc_role_is_known(request->role))
        return reid_fail(err, REID_ERR_INVALID,
                         "'%s' is no role; there are node, viewer, operator and admin",
                         request->role);
    bool node = strcmp(request->role, "node") == 0;
    if (!node && request->host_count > 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "only a node's certificate has hosts, not that of a user (%s)",
                         request->role);
    if (node && !is_host(request->name))
        return reid_fail(err, REID_ERR_INVALID, "a node's name is a host name, which '%s' is not",
                         request->name);
    if (request->host_count > MAX_HOSTS)
        return reid_fail(err, REID_ERR_INVALID, "a certificate can have %d hosts, not %zu",
                         MAX_HOSTS, request->host_count);
    for (size_t i = 0; i < request->host_count; i++)
        if (!is_host(request->hosts[i]))
            return reid_fail(err, REID_ERR_INVALID,
                             "'%s' is neither a host name nor a numeric address",
                             request->hosts[i]);
    return REID_OK;
}

static reid_status refuse_existing(const char *dir, const char *name, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(dir, name);
    if (!reid_path_exists(path))
        return REID_OK;
    return reid_fail(err, REID_ERR_EXISTS, "'%s' is there already; nothing was overwritten", path);
}

reid_status reid_rpc_ca_init(const char *dir, const char *name, int days, reid_error *err)
{
    REID_TRY(check_name_and_days(name, days, err));
    REID_TRY(reid_make_dirs(dir, 0700, err));
    REID_TRY(refuse_existing(dir, "ca.pem", err));
    REID_TRY(refuse_existing(dir, "ca-key.pem", err));
    reid_rpc_authority made;
    REID_TRY(make(NULL, name, days, NULL, &made, err));
    reid_status status = write_key(dir, "ca-key.pem", made.key, err);
    if (status == REID_OK)
        status = write_certificate(dir, "ca.pem", made.certificate, err);
    reid_rpc_authority_fini(&made);
    return status == REID_OK ? reid_fsync_dir(dir, err) : status;
}

/* ---- issuing ---- */

/* A line for whoever must know later what was issued; before the certificate gets out. */
static reid_status note(const char *dir, const reid_rpc_ca_request *request, X509 *certificate,
                        reid_error *err)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *serial = number ? BN_bn2hex(number) : NULL;
    struct tm end = {0};
    ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end);
    REID_AUTOFREE char *line =
        reid_xasprintf("%s %04d-%02d-%02d %s %s\n", serial ? serial : "?", end.tm_year + 1900,
                       end.tm_mon + 1, end.tm_mday, request->role, request->name);
    OPENSSL_free(serial);
    BN_free(number);
    REID_AUTOFREE char *path = reid_path_join(dir, "issued.txt");
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    reid_status status = reid_write_all(fd, line, strlen(line), path, err);
    if (status == REID_OK && fsync(fd) != 0)
        status = reid_fail_errno(err, errno, "cannot write '%s'", path);
    close(fd);
    return status;
}

/* ca.pem may be there from an earlier certificate, if it is the same. */
static reid_status copy_authority(const char *out, X509 *certificate, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(out, "ca.pem");
    if (!reid_path_exists(path))
        return write_certificate(out, "ca.pem", certificate, err);
    BIO *file = BIO_new_file(path, "re");
    X509 *there = file ? PEM_read_bio_X509(file, NULL, reid_rpc_no_password, NULL) : NULL;
    bool same = there && X509_cmp(there, certificate) == 0;
    X509_free(there);
    BIO_free(file);
    ERR_clear_error();
    return same ? REID_OK
                : reid_fail(err, REID_ERR_EXISTS,
                            "'%s' is that of another authority; nothing was overwritten", path);
}

reid_status reid_rpc_ca_issue(const char *dir, const reid_rpc_ca_request *request, const char *out,
                              reid_error *err)
{
    REID_TRY(check_request(request, err));
    reid_rpc_authority ca, made = {0};
    REID_TRY(reid_rpc_authority_open(dir, &ca, err));
    reid_status status = reid_make_dirs(out, 0700, err);
    if (status == REID_OK)
        status = refuse_existing(out, "cert.pem", err);
    if (status == REID_OK)
        status = refuse_existing(out, "key.pem", err);
    if (status == REID_OK && X509_cmp_current_time(X509_get0_notAfter(ca.certificate)) <= 0)
        status = reid_fail(err, REID_ERR_PRECONDITION, "the authority in '%s' has expired", dir);
    if (status == REID_OK)
        status = make(&ca, request->name, request->days, request, &made, err);
    if (status == REID_OK)
        status = copy_authority(out, ca.certificate, err);
    if (status == REID_OK)
        status = note(dir, request, made.certificate, err);
    if (status == REID_OK)
        status = write_key(out, "key.pem", made.key, err);
    if (status == REID_OK)
        status = write_certificate(out, "cert.pem", made.certificate, err);
    if (status == REID_OK)
        status = reid_fsync_dir(out, err);
    reid_rpc_authority_fini(&made);
    reid_rpc_authority_fini(&ca);
    return status;
}
