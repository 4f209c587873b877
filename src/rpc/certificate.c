#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "base/str.h"
#include "rpc/ca.h"
#include "rpc/tls_impl.h"

static void add_string(reid_str *out, const ASN1_STRING *string)
{
    unsigned char *text = NULL;
    int length = ASN1_STRING_to_UTF8(&text, string);
    if (length > 0)
        reid_str_add_bytes(out, text, (size_t)length);
    OPENSSL_free(text);
}

static char *entry_of(const X509_NAME *name, int nid)
{
    reid_str out = REID_STR_INIT;
    int at = X509_NAME_get_index_by_NID(name, nid, -1);
    if (at >= 0)
        add_string(&out, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    return out.data ? reid_str_take(&out) : reid_xstrdup("");
}

static void add_host(reid_str *out, const GENERAL_NAME *name)
{
    int type;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    char text[INET6_ADDRSTRLEN] = "?";
    if (type != GEN_DNS && type != GEN_IPADD)
        return;
    if (out->length > 0)
        reid_str_add(out, ", ");
    if (type == GEN_DNS) {
        add_string(out, value);
        return;
    }
    int size = ASN1_STRING_length(value);
    if (size == 4 || size == 16)
        inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value), text, sizeof text);
    reid_str_add(out, text);
}

static char *hosts_of(const X509 *certificate)
{
    reid_str out = REID_STR_INIT;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++)
        add_host(&out, sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
    return out.data ? reid_str_take(&out) : reid_xstrdup("");
}

static char *serial_of(X509 *certificate)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;
    char *text = reid_xstrdup(hex ? hex : "?");
    OPENSSL_free(hex);
    BN_free(number);
    return text;
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm tm = {0};
    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

reid_status reid_rpc_certificate_read(const char *path, reid_rpc_certificate *ret_certificate,
                                      reid_error *err)
{
    BIO *file = BIO_new_file(path, "re");
    if (!file) {
        ERR_clear_error();
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    }
    X509 *x = PEM_read_bio_X509(file, NULL, reid_rpc_no_password, NULL);
    BIO_free(file);
    ERR_clear_error();
    if (!x)
        return reid_fail(err, REID_ERR_INVALID, "'%s' holds no certificate in PEM form", path);
    const X509_NAME *subject = X509_get_subject_name(x);
    *ret_certificate = (reid_rpc_certificate){
        .is_authority = X509_check_ca(x) == 1,
        .name = entry_of(subject, NID_commonName),
        .role = entry_of(subject, NID_organizationalUnitName),
        .issuer = entry_of(X509_get_issuer_name(x), NID_commonName),
        .hosts = hosts_of(x),
        .serial = serial_of(x),
        .from_s = seconds_of(X509_get0_notBefore(x)),
        .until_s = seconds_of(X509_get0_notAfter(x)),
    };
    X509_free(x);
    return REID_OK;
}

void reid_rpc_certificate_fini(reid_rpc_certificate *certificate)
{
    free(certificate->name);
    free(certificate->role);
    free(certificate->issuer);
    free(certificate->hosts);
    free(certificate->serial);
    *certificate = (reid_rpc_certificate){0};
}
