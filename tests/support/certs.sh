#!/bin/sh
# tests/support/certs.sh DIRECTORY - certificates for the tests of TLS, made in a second by the
# program openssl: ca.pem, which vouches for server.pem (localhost, 127.0.0.1 and ::1) and client.pem,
# each with its .key; and what a test wants to see refused: expired.pem, misnamed.pem (for another
# host), strange.pem (of an authority that nobody knows). With SSL_CERT_DIR=DIRECTORY/trusted it is
# one of the system's authorities.
set -eu
cd "$1"
umask 077

authority() { # name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -addext keyUsage=critical,keyCertSign,cRLSign -subj "/CN=ctask test $1" \
        -keyout "$1.key" -out "$1.pem" 2>/dev/null
}

identity() { # name authority names days [more for x509]
    name=$1 by=$2 names=$3 days=$4
    shift 4
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
        -keyout "$name.key" -out "$name.csr" 2>/dev/null
    # With all that X509_V_FLAG_X509_STRICT asks for, which is Python 3.13's default.
    printf '%s\n' "subjectAltName=$names" authorityKeyIdentifier=keyid subjectKeyIdentifier=hash \
        >"$name.ext"
    openssl x509 -req -in "$name.csr" -CA "$by.pem" -CAkey "$by.key" -CAcreateserial \
        -days "$days" -extfile "$name.ext" -out "$name.pem" "$@" 2>/dev/null
    rm -f "$name.csr" "$name.ext"
}

here=DNS:localhost,IP:127.0.0.1,IP:::1
authority ca
authority nobody
identity server ca "$here" 30
identity client ca DNS:client 30
identity expired ca "$here" 0 # OpenSSL 3.5 takes no number below
identity misnamed ca DNS:elsewhere.test 30
identity strange nobody "$here" 30
mkdir trusted
cp ca.pem "trusted/$(openssl x509 -in ca.pem -noout -hash).0"
