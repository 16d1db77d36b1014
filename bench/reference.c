//go:build ignore

/*
 * The least CGI program that answers one token request: a PAM conversation, one signature by OpenSSL,
 * one line for the log. It has the limits of a reference: one scope, no rules, no checks of what a
 * client sends. It is no service.
 *
 * usage: reference                        one request, from the environment of CGI
 *        reference conversations SECONDS  conversations for so long; prints how many
 *
 * privkey.pem (P-256 or RSA) and pam.d/dockerauth stand in the folder of the program.
 */
#define _GNU_SOURCE
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ISSUER "auth.example.com"
#define AUDIENCE "registry.example.com"
#define LIFETIME 900

static void fail(const char *what)
{
	fprintf(stderr, "reference: %s\n", what);
	printf("Status: 503 Service Unavailable\r\n\r\n");
	exit(1);
}

static char user[256], password[512];

static void read_login(void)
{
	const char *given = getenv("HTTP_AUTHORIZATION");
	unsigned char plain[1024] = "";
	size_t length = given ? strlen(given) : 0;
	if (length < 6 || length > 1000 || strncmp(given, "Basic ", 6) != 0)
		fail("no login");
	if (EVP_DecodeBlock(plain, (const unsigned char *)given + 6, (int)length - 6) < 0)
		fail("decode the login");
	if (sscanf((char *)plain, "%255[^:]:%511s", user, password) != 2)
		fail("read the login");
}

static int answer(int count, const struct pam_message **messages, struct pam_response **out, void *data)
{
	struct pam_response *responses = calloc((size_t)count, sizeof *responses);
	(void)data;
	if (!responses)
		return PAM_BUF_ERR;
	for (int i = 0; i < count; i++)
		if (messages[i]->msg_style == PAM_PROMPT_ECHO_OFF)
			responses[i].resp = strdup(password);
	*out = responses;
	return PAM_SUCCESS;
}

/* Puts the name that PAM gives back into user. */
static void converse(void)
{
	const struct pam_conv conv = {answer, NULL};
	const char *remote = getenv("REMOTE_ADDR");
	const void *name = NULL;
	pam_handle_t *handle;
	if (pam_start_confdir("dockerauth", user, &conv, "pam.d", &handle) != PAM_SUCCESS)
		fail("pam_start");
	pam_set_item(handle, PAM_RHOST, remote ? remote : "");
	pam_set_item(handle, PAM_TTY, "dockerauth");
	if (pam_authenticate(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK) != PAM_SUCCESS)
		fail("pam_authenticate");
	if (pam_acct_mgmt(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK) != PAM_SUCCESS)
		fail("pam_acct_mgmt");
	if (pam_get_item(handle, PAM_USER, &name) != PAM_SUCCESS || !name)
		fail("pam_get_item");
	snprintf(user, sizeof user, "%s", (const char *)name);
	pam_end(handle, PAM_SUCCESS);
}

/* Appends data as unpadded base64url. */
static void append(char *to, const void *data, size_t length)
{
	char *at = to + strlen(to);
	int n = EVP_EncodeBlock((unsigned char *)at, data, (int)length);
	while (n > 0 && at[n - 1] == '=')
		at[--n] = '\0';
	for (; *at; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
}

static void base32(char *to, const unsigned char *data, size_t length, const char *separator)
{
	unsigned bits = 0, value = 0, chars = 0;
	for (size_t i = 0; i < length || bits > 0;) {
		if (bits < 5 && i < length) {
			value = value << 8 | data[i++];
			bits += 8;
		} else if (bits < 5) {
			value <<= 5 - bits;
			bits = 5;
		}
		while (bits >= 5) {
			if (chars > 0 && chars % 4 == 0 && *separator)
				*to++ = *separator;
			*to++ = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[value >> (bits - 5) & 31];
			bits -= 5;
			chars++;
		}
	}
	*to = '\0';
}

/* The key id of libtrust. */
static void key_id(EVP_PKEY *key, char *to)
{
	unsigned char *der = NULL, digest[SHA256_DIGEST_LENGTH];
	int length = i2d_PUBKEY(key, &der);
	if (length < 0)
		fail("encode the public key");
	SHA256(der, (size_t)length, digest);
	base32(to, digest, 30, ":");
}

static void sign(EVP_PKEY *key, char *token)
{
	unsigned char signature[1024], raw[64];
	size_t length = sizeof signature, text = strlen(token);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
	    EVP_DigestSign(context, signature, &length, (unsigned char *)token, text) != 1)
		fail("sign");
	strcat(token, ".");
	if (EVP_PKEY_base_id(key) == EVP_PKEY_EC) {
		const unsigned char *at = signature;
		ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)length);
		if (!pair || BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32) < 0 ||
		    BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32) < 0)
			fail("encode the signature");
		append(token, raw, sizeof raw);
	} else {
		append(token, signature, length);
	}
}

/* Reads one scope, such as repository:alice/app:pull,push, as the JSON of one grant. */
static void read_access(char *to, size_t size)
{
	const char *query = getenv("QUERY_STRING");
	const char *given = query ? strstr(query, "scope=") : NULL;
	char scope[512], *at = scope, *name, *actions;
	unsigned code;
	if (!given)
		fail("no scope");
	for (given += 6; *given && *given != '&' && at < scope + sizeof scope - 1; given++) {
		if (*given == '%' && sscanf(given + 1, "%2x", &code) == 1) {
			*at++ = (char)code;
			given += 2;
		} else {
			*at++ = *given;
		}
	}
	*at = '\0';
	name = strchr(scope, ':');
	actions = strrchr(scope, ':');
	if (!name || name == actions)
		fail("read the scope");
	*name++ = *actions++ = '\0';
	at = to + snprintf(to, size, "[{\"type\":\"%s\",\"name\":\"%s\",\"actions\":[", scope, name);
	for (char *action = strtok(actions, ","); action; action = strtok(NULL, ","))
		at += snprintf(at, size - (size_t)(at - to), "%s\"%s\"", at[-1] == '[' ? "" : ",", action);
	snprintf(at, size - (size_t)(at - to), "]}]");
}

static void answer_request(void)
{
	char kid[64], header[256], access[1024], claims[2048], id[32], issued[32], *token = calloc(1, 8192);
	unsigned char random[16];
	time_t now = time(NULL);
	FILE *file = fopen("privkey.pem", "r");
	EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
	if (!key || !token || RAND_bytes(random, sizeof random) != 1)
		fail("read privkey.pem");
	fclose(file);
	read_login();
	converse();
	read_access(access, sizeof access);
	key_id(key, kid);
	base32(id, random, sizeof random, "");
	snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
		 EVP_PKEY_base_id(key) == EVP_PKEY_EC ? "ES256" : "RS256", kid);
	snprintf(claims, sizeof claims,
		 "{\"iss\":\"%s\",\"sub\":\"%s\",\"aud\":\"%s\",\"exp\":%ld,\"nbf\":%ld,\"iat\":%ld,\"jti\":\"%s\","
		 "\"access\":%s}",
		 ISSUER, user, AUDIENCE, (long)now + LIFETIME, (long)now - 30, (long)now - 30, id, access);
	append(token, header, strlen(header));
	strcat(token, ".");
	append(token, claims, strlen(claims));
	sign(key, token);
	strftime(issued, sizeof issued, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	printf("Status: 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\n\r\n"
	       "{\"token\":\"%s\",\"access_token\":\"%s\",\"expires_in\":%d,\"issued_at\":\"%s\"}\n",
	       token, token, LIFETIME, issued);
	fprintf(stderr, "time=%s outcome=granted user=%s access=%s token=%s\n", issued, user, access, id);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	char self[4096];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	if (length < 0)
		fail("find the program");
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	if (chdir(self) != 0)
		fail("enter the folder of the program");
	if (argc == 3 && strcmp(argv[1], "conversations") == 0) {
		int count = 0;
		double end = seconds() + atof(argv[2]);
		read_login();
		for (; seconds() < end; count++)
			converse();
		printf("%d\n", count);
		return 0;
	}
	answer_request();
	return 0;
}
