/* state_crypt.h — values that a state store must not read: AES-GCM under a key of the component's
 * metadata (primaryEncryptionKey, secondaryEncryptionKey: hex, 128 to 256 bits).
 * Layout, the contract's: base64(nonce, ciphertext, tag) || the name of the key's secret.
 * Owner:  the instance.   Thread: any.
 * Failure: -INVALID a key that is none; -DATA_LOSS a value that was not made with one of the keys.
 */
#pragma once

#include "block/core/block.h"

struct state_crypt;

/* names: of the secrets that the keys came from. *ret NULL: the component has no key. */
int state_crypt_new(struct instance *i, str primary_name, str secondary_name,
                    struct state_crypt **ret, struct error *err) WUR;
/* By the primary key; the value becomes bytes. Does nothing for a delete, or without keys (k NULL).
 */
int state_crypt_seal(const struct state_crypt *k, struct state_write *w, size_t n, struct arena *a,
                     struct error *err) WUR;
int state_crypt_open(const struct state_crypt *k, struct state_value *v, struct arena *a,
                     struct error *err) WUR;
