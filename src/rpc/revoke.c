#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "rpc/ca.h"
#include "rpc/ca_impl.h"
#include "rpc/tls_impl.h"

enum { MAX_ISSUED_BYTES = 64 << 20, LIST_DAYS = 36500 };

static reid_status library_failed(reid_error *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    reid_status status = reid_fail(err, REID_ERR_INTERNAL, "cannot make the list: %s",
                                   reason ? reason : "the library gives no reason");
    ERR_clear_error();
    return status;
}

/* The list as it is, or a new one. */
static reid_status open_list(const char *path, X509_CRL **ret_list, reid_error *err)
{
    X509_CRL *list = NULL;
    if (access(path, F_OK) != 0) {
        list = X509_CRL_new();
        if (!list || X509_CRL_set_version(list, X509_CRL_VERSION_2) != 1) {
            X509_CRL_free(list);
            return library_failed(err);
        }
    } else {
        BIO *file = BIO_new_file(path, "re");
        list = file ? PEM_read_bio_X509_CRL(file, NULL, reid_rpc_no_password, NULL) : NULL;
        BIO_free(file);
        ERR_clear_error();
        if (!list)
            return reid_fail(err, REID_ERR_INVALID,
                             "'%s' holds no list of revoked certificates in PEM form", path);
    }
    *ret_list = list;
    return REID_OK;
}

/* False when the library fails. */
static bool add_serial(X509_CRL *list, const char *serial, unsigned *count)
{
    BIGNUM *number = NULL;
    X509_REVOKED *entry = X509_REVOKED_new(), *there;
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
    bool good = false;
    ASN1_INTEGER *value = BN_hex2bn(&number, serial) > 0 ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
    if (value && X509_CRL_get0_by_serial(list, &there, value) > 0) {
        good = true;
    } else if (value && entry && now && X509_REVOKED_set_serialNumber(entry, value) == 1 &&
               X509_REVOKED_set_revocationDate(entry, now) == 1 &&
               X509_CRL_add0_revoked(list, entry) == 1) {
        entry = NULL; /* the list's */
        good = true;
        ++*count;
    }
    BN_free(number);
    ASN1_INTEGER_free(value);
    ASN1_TIME_free(now);
    X509_REVOKED_free(entry);
    return good;
}

/* Lines of issued.txt are: serial, last day, role, name. */
static reid_status add_issued(const char *dir, const char *wanted, X509_CRL *list,
                              unsigned *ret_found, unsigned *ret_count, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(dir, "issued.txt");
    char *text;
    size_t size;
    REID_TRY(reid_file_read(path, MAX_ISSUED_BYTES, &text, &size, err));
    reid_status status = REID_OK;
    char *rest = text;
    for (char *line; status == REID_OK && (line = strsep(&rest, "\n")) != NULL;) {
        char *serial = strsep(&line, " ");
        strsep(&line, " ");
        strsep(&line, " ");
        if (!line || (strcmp(line, wanted) != 0 && strcasecmp(serial, wanted) != 0))
            continue;
        ++*ret_found;
        if (!add_serial(list, serial, ret_count))
            status = library_failed(err);
    }
    free(text);
    return status;
}

static reid_status sign_and_write(const reid_rpc_authority *ca, X509_CRL *list, const char *path,
                                  reid_error *err)
{
    ASN1_TIME *now = X509_gmtime_adj(NULL, -300);
    ASN1_TIME *next = X509_time_adj_ex(NULL, LIST_DAYS, 0, NULL);
    BIO *text = BIO_new(BIO_s_mem());
    bool good = now && next && text &&
                X509_CRL_set_issuer_name(list, X509_get_subject_name(ca->certificate)) == 1 &&
                X509_CRL_set1_lastUpdate(list, now) == 1 &&
                X509_CRL_set1_nextUpdate(list, next) == 1 && X509_CRL_sort(list) == 1 &&
                X509_CRL_sign(list, ca->key, EVP_sha256()) > 0 &&
                PEM_write_bio_X509_CRL(text, list) == 1;
    char *data = NULL;
    long size = good ? BIO_get_mem_data(text, &data) : 0;
    reid_status status =
        good ? reid_file_write_atomic(path, data, (size_t)size, err) : library_failed(err);
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
    BIO_free(text);
    return status;
}

reid_status reid_rpc_ca_revoke(const char *dir, const char *name_or_serial, unsigned *ret_count,
                               reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(dir, "crl.pem");
    reid_rpc_authority ca;
    X509_CRL *list = NULL;
    unsigned found = 0, count = 0;
    REID_TRY(reid_rpc_authority_open(dir, &ca, err));
    reid_status status = open_list(path, &list, err);
    if (status == REID_OK)
        status = add_issued(dir, name_or_serial, list, &found, &count, err);
    if (status == REID_OK && found == 0)
        status = reid_fail(err, REID_ERR_NOT_FOUND,
                           "no certificate of this name or serial was issued in '%s': '%s'", dir,
                           name_or_serial);
    if (status == REID_OK)
        status = sign_and_write(&ca, list, path, err);
    X509_CRL_free(list);
    reid_rpc_authority_fini(&ca);
    if (status == REID_OK && ret_count)
        *ret_count = count;
    return status;
}

bool reid_rpc_ca_has_revoked(const char *dir, const char *serial)
{
    REID_AUTOFREE char *path = reid_path_join(dir, "crl.pem");
    X509_CRL *list = NULL;
    X509_REVOKED *there;
    BIGNUM *number = NULL;
    if (access(path, F_OK) != 0 || open_list(path, &list, NULL) != REID_OK)
        return false;
    ASN1_INTEGER *value = BN_hex2bn(&number, serial) > 0 ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
    bool has = value && X509_CRL_get0_by_serial(list, &there, value) > 0;
    ASN1_INTEGER_free(value);
    BN_free(number);
    X509_CRL_free(list);
    return has;
}
