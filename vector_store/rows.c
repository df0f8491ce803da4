/* The row path in C, whole batches at a time: ids out of a request body, ids to MGETs, replies to
   rows, and the arena of the row cache. Knows no Python, no model and no cluster.

   ids: n byte strings back to back in `blob`, string i at offsets[i] .. offsets[i + 1].
   Functions check their arguments and return BAD_ARGUMENTS where they don't fit together. No state
   but what the caller hands in; only an arena may be used by several threads at once.
   Little-endian 64-bit machines. */

#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || __SIZEOF_POINTER__ != 8
#error "expected a little-endian 64-bit machine"
#endif

#ifndef WINNOW_SOURCE_MARK
#define WINNOW_SOURCE_MARK ""
#endif
const char winnow_source_mark[] = WINNOW_SOURCE_MARK;

enum { MAX_ID_BYTES = 256, BAD_ARGUMENTS = -1, UNUSUAL = -2 };
enum { FOUND = 0, MISSING = 1, CORRUPT = 2 };
enum { TRAILER_BYTES = 12 };

typedef struct {
  const uint8_t *blob;
  const int64_t *offsets;
  int64_t n;
} ids_t;

static int ids_ok(const ids_t *ids, int64_t blob_bytes) {
  if (ids->n < 0 || ids->offsets[0] < 0 || ids->offsets[ids->n] > blob_bytes) return 0;
  int64_t backwards = 0;
  for (int64_t i = 0; i < ids->n; i++) backwards |= ids->offsets[i + 1] - ids->offsets[i];
  return backwards >= 0;
}

static inline int64_t id_bytes(const ids_t *ids, int64_t i) {
  return ids->offsets[i + 1] - ids->offsets[i];
}

static inline int possible(int64_t bytes) { return bytes > 0 && bytes <= MAX_ID_BYTES; }

static inline uint64_t load64(const uint8_t *p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}

/* memcpy of a short string by a fixed size where there is room around it: a call costs more. */
static inline void copy_short(uint8_t *out, const uint8_t *out_end, const uint8_t *p,
                              const uint8_t *end, int64_t bytes) {
  if (bytes <= 32 && out_end - out >= 32 && end - p >= 32)
    memcpy(out, p, 32);
  else
    memcpy(out, p, (size_t)bytes);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* The high bit of every byte that ends a plain JSON string or makes it more than plain ASCII:
   quote, backslash, control characters, bytes of 0x80 and above. */
static inline uint64_t odd_bytes(uint64_t word) {
  const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
  uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
  uint64_t below = (word - ones * 0x20) | (quote - ones) | (slash - ones);
  return (below | word) & high; /* exact up to the first one that is set, which is all we use */
}

static int is_utf8(const uint8_t *p, int64_t bytes) {
  const uint8_t *end = p + bytes;
  while (p < end) {
    uint8_t first = *p++;
    if (first < 0x80) continue;
    int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4 || end - p < more) return 0;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80; /* no overlong forms, */
    uint8_t top = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF; /* no surrogates */
    if (p[0] < low || p[0] > top) return 0;
    for (int i = 1; i < more; i++)
      if ((p[i] & 0xC0) != 0x80) return 0;
    p += more;
  }
  return 1;
}

/* Bytes of a string without escapes and control characters that starts behind its quote and is
   copied to `out` (which has room up to the end of the input); UNUSUAL for any other. */
static int64_t plain_string(const uint8_t *p, const uint8_t *end, uint8_t *out) {
  const uint8_t *start = p;
  int ascii = 1;
  for (;;) {
    while (end - p >= 8) {
      uint64_t word = load64(p), odd = odd_bytes(word);
      memcpy(out + (p - start), &word, 8);
      if (odd) {
        p += __builtin_ctzll(odd) >> 3;
        break;
      }
      p += 8;
    }
    if (p >= end) return UNUSUAL;
    uint8_t c = *p;
    if (c == '"') break;
    if (c < 0x20 || c == '\\') return UNUSUAL;
    out[p - start] = c;
    ascii &= c < 0x80;
    p++;
  }
  int64_t bytes = p - start;
  return ascii || is_utf8(start, bytes) ? bytes : UNUSUAL;
}

/* ---- the ids of a request body ----------------------------------------------------------------- */

static const uint8_t *past_space(const uint8_t *p, const uint8_t *end) {
  while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
  return p;
}

static const uint8_t *past_string(const uint8_t *p, const uint8_t *end) {
  while (p < end && *p != '"') p += *p == '\\' ? 2 : 1;
  return p < end ? p + 1 : NULL;
}

/* Behind a value, or NULL. Right for every valid value; what is no JSON is the next parser's to
   refuse, which sees all of the body but the ids. */
static const uint8_t *past_value(const uint8_t *p, const uint8_t *end) {
  int64_t depth = 0;
  while (p < end) {
    uint8_t c = *p;
    if (c == '"') {
      if (!(p = past_string(p + 1, end))) return NULL;
    } else if (c == '{' || c == '[') {
      depth++, p++;
      continue;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return NULL;
      depth--, p++;
    } else if (depth) {
      p++;
      continue;
    } else {
      const uint8_t *start = p;
      while (p < end && *p > ' ' && *p != ',' && *p != '}' && *p != ']') p++;
      return p > start ? p : NULL;
    }
    if (depth == 0) return p;
  }
  return NULL;
}

typedef struct {
  uint8_t *blob;
  int64_t *offsets, capacity, n;
} ids_out;

/* Behind an array of plain strings of 1 to MAX_ID_BYTES, or NULL. */
static const uint8_t *take_ids(const uint8_t *p, const uint8_t *end, ids_out *out) {
  int64_t at = 0;
  out->n = 0;
  out->offsets[0] = 0;
  if (p == end || *p++ != '[') return NULL;
  p = past_space(p, end);
  if (p < end && *p == ']') return p + 1;
  while (p < end && *p == '"' && out->n < out->capacity) {
    int64_t bytes = plain_string(p + 1, end, out->blob + at);
    if (!possible(bytes)) return NULL;
    out->offsets[++out->n] = at += bytes;
    p = past_space(p + bytes + 2, end);
    if (p == end) return NULL;
    if (*p == ']') return p + 1;
    if (*p != ',') return NULL;
    p = past_space(p + 1, end);
  }
  return NULL;
}

/* Digits onto `value`, while it stays exact as a double; one that is left over ends the number,
   and so makes the array unusual. */
static const uint8_t *take_digits(const uint8_t *p, const uint8_t *end, uint64_t *value) {
  for (; p < end && *p >= '0' && *p <= '9' && *value < (uint64_t)1 << 49; p++)
    *value = 10 * *value + (uint64_t)(*p - '0');
  return p;
}

/* Behind a JSON number that is exact after one rounding (digits below 2^53, a power of ten up to
   22: Clinger 1990, "How to read floating point numbers accurately"), or NULL. */
static const uint8_t *take_number(const uint8_t *p, const uint8_t *end, double *out) {
  static const double TEN[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                               1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                               1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  uint64_t digits = 0, exponent = 0;
  int64_t power = 0;
  int minus = p < end && *p == '-';
  const uint8_t *start = p += minus;
  p = take_digits(p, end, &digits);
  if (p == start || (*start == '0' && p > start + 1)) return NULL;
  if (p < end && *p == '.') {
    start = ++p;
    p = take_digits(p, end, &digits);
    if (p == start) return NULL;
    power = start - p;
  }
  if (p < end && (*p == 'e' || *p == 'E')) {
    p++;
    int below = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    start = p;
    p = take_digits(p, end, &exponent);
    if (p == start || exponent > 1000) return NULL;
    power += below ? -(int64_t)exponent : (int64_t)exponent;
  }
  if (power < -22 || power > 22) return NULL;
  double value = power < 0 ? (double)digits / TEN[-power] : (double)digits * TEN[power];
  *out = minus ? -value : value;
  return p;
}

typedef struct {
  double *values;
  int64_t capacity, n;
} numbers_out;

/* Behind an array of numbers and nulls (NAN), or NULL. */
static const uint8_t *take_numbers(const uint8_t *p, const uint8_t *end, numbers_out *out) {
  out->n = 0;
  if (p == end || *p++ != '[') return NULL;
  p = past_space(p, end);
  if (p < end && *p == ']') return p + 1;
  while (p < end && out->n < out->capacity) {
    if (end - p > 4 && memcmp(p, "null", 4) == 0)
      out->values[out->n++] = NAN, p += 4;
    else if (!(p = take_number(p, end, &out->values[out->n++])))
      return NULL;
    p = past_space(p, end);
    if (p == end) return NULL;
    if (*p == ']') return p + 1;
    if (*p != ',') return NULL;
    p = past_space(p + 1, end);
  }
  return NULL;
}

static int is_key(const uint8_t *key, const uint8_t *behind, const char *name) {
  size_t bytes = (size_t)(behind - key);
  return bytes == strlen(name) && memcmp(key, name, bytes) == 0;
}

/* Takes the candidates out of a JSON object. The ids are the array under its key "product_ids",
   which lies at span[0] .. span[1]; blob has room for `bytes`, offsets for capacity + 1. The array
   of numbers and nulls (NAN) under "sort_values", if there is such a one, lies at span[2] ..
   span[3], and has span[4] values, for which there is room for capacity; else span[3] is 0.
   Returns the number of ids, or UNUSUAL where a full parser has to look: an escape in a key or an
   id, one of the keys twice, no ids, an id that is empty or too long, anything that isn't such an
   object. Numbers that need more than one rounding are left to it too, without being UNUSUAL. */
int64_t candidates_scan(const uint8_t *body, int64_t bytes, uint8_t *blob, int64_t *offsets,
                        double *values, int64_t capacity, int64_t *span) {
  if (bytes < 0 || capacity < 0) return BAD_ARGUMENTS;
  const uint8_t *end = body + bytes, *p = past_space(body, end);
  ids_out ids = {blob, offsets, capacity, 0};
  numbers_out numbers = {values, capacity, 0};
  int seen_ids = 0, seen_values = 0;
  span[2] = span[3] = span[4] = 0;
  if (p == end || *p++ != '{') return UNUSUAL;
  for (;;) {
    p = past_space(p, end);
    if (p == end || *p++ != '"') return UNUSUAL;
    const uint8_t *key = p;
    while (p < end && *p != '"' && *p != '\\') p++;
    if (p == end || *p == '\\') return UNUSUAL;
    int is_ids = is_key(key, p, "product_ids"), is_values = is_key(key, p, "sort_values");
    p = past_space(p + 1, end);
    if (p == end || *p++ != ':') return UNUSUAL;
    const uint8_t *value = p = past_space(p, end), *behind = NULL;
    if ((is_ids && seen_ids++) || (is_values && seen_values++)) return UNUSUAL;
    if (is_ids) {
      if (!(behind = take_ids(p, end, &ids))) return UNUSUAL;
      span[0] = value - body, span[1] = behind - body;
    } else if (is_values && (behind = take_numbers(p, end, &numbers))) {
      span[2] = value - body, span[3] = behind - body, span[4] = numbers.n;
    } else if (!(behind = past_value(p, end))) {
      return UNUSUAL;
    }
    p = past_space(behind, end);
    if (p == end) return UNUSUAL;
    if (*p == '}') break;
    if (*p++ != ',') return UNUSUAL;
  }
  return seen_ids && past_space(p + 1, end) == end ? ids.n : UNUSUAL;
}

/* ---- ids of a batch ------------------------------------------------------------------------- */

/* The n elements of a BYTES tensor of the Open Inference Protocol, each a little-endian uint32
   length and so many bytes: blob [bytes], offsets [n + 1]. Returns their bytes, or UNUSUAL where
   the tensor is not exactly n elements. */
int64_t tensor_scan(const uint8_t *tensor, int64_t bytes, int64_t n, uint8_t *blob,
                    int64_t *offsets) {
  if (bytes < 0 || n < 0) return BAD_ARGUMENTS;
  int64_t at = 0, out = offsets[0] = 0;
  for (int64_t i = 0; i < n; i++) {
    if (bytes - at < 4) return UNUSUAL;
    const uint8_t *p = tensor + at;
    int64_t length = p[0] | p[1] << 8 | p[2] << 16 | (int64_t)p[3] << 24;
    at += 4;
    if (bytes - at < length) return UNUSUAL;
    memcpy(blob + out, tensor + at, length);
    at += length;
    offsets[i + 1] = out += length;
  }
  return at == bytes ? out : UNUSUAL;
}

static int positions_ok(const int64_t *positions, int64_t m, int64_t n) {
  int ok = m >= 0;
  for (int64_t j = 0; j < m; j++) ok &= positions[j] >= 0 && positions[j] < n;
  return ok;
}

/* The ids at `positions`: with out_blob NULL fills out_offsets [m + 1], else out_blob.
   Returns their bytes. */
int64_t ids_take(const uint8_t *blob, int64_t blob_bytes, const int64_t *offsets, int64_t n,
                 const int64_t *positions, int64_t m, uint8_t *out_blob, int64_t *out_offsets) {
  ids_t ids = {blob, offsets, n};
  if (!ids_ok(&ids, blob_bytes) || !positions_ok(positions, m, n)) return BAD_ARGUMENTS;
  int64_t at = 0;
  if (!out_blob) {
    for (int64_t j = 0; j < m; j++) {
      out_offsets[j] = at;
      at += id_bytes(&ids, positions[j]);
    }
    return out_offsets[m] = at;
  }
  for (int64_t j = 0; j < m; j++) {
    int64_t bytes = id_bytes(&ids, positions[j]);
    if (out_offsets[j] != at || out_offsets[m] - at < bytes) return BAD_ARGUMENTS;
    copy_short(out_blob + at, out_blob + out_offsets[m], blob + offsets[positions[j]],
               blob + blob_bytes, bytes);
    at += bytes;
  }
  return at;
}

static int needs_no_escape(const uint8_t *p, int64_t bytes) {
  int plain = 1, ascii = 1;
  for (int64_t i = 0; i < bytes; i++) {
    plain &= p[i] >= 0x20 && p[i] != '"' && p[i] != '\\';
    ascii &= p[i] < 0x80;
  }
  return plain && (ascii || is_utf8(p, bytes));
}

/* A JSON array of the ids at `positions`, or UNUSUAL where one needs escaping or isn't UTF-8.
   Returns its bytes, and writes them unless `out` is NULL. */
int64_t ids_json(const uint8_t *blob, int64_t blob_bytes, const int64_t *offsets, int64_t n,
                 const int64_t *positions, int64_t m, uint8_t *out, int64_t capacity) {
  ids_t ids = {blob, offsets, n};
  if (!ids_ok(&ids, blob_bytes) || !positions_ok(positions, m, n)) return BAD_ARGUMENTS;
  int64_t size = m ? 1 + 3 * m : 2;
  for (int64_t j = 0; j < m; j++) size += id_bytes(&ids, positions[j]);
  if (!out) return size;
  if (capacity < size) return BAD_ARGUMENTS;
  int all_plain = needs_no_escape(blob + offsets[0], offsets[n] - offsets[0]);
  uint8_t *p = out + 1;
  for (int64_t j = 0; j < m; j++) {
    const uint8_t *id = blob + offsets[positions[j]];
    int64_t bytes = id_bytes(&ids, positions[j]);
    if (!all_plain && !needs_no_escape(id, bytes)) return UNUSUAL;
    *p++ = '"';
    copy_short(p, out + capacity, id, blob + blob_bytes, bytes);
    p += bytes;
    *p++ = '"', *p++ = ',';
  }
  out[0] = '[';
  out[size - 1] = ']'; /* over the last comma */
  return size;
}

/* CRC-32 as zlib has it. The table is linear: entry i is the exclusive or of the entries of the
   bits of i. */
#define CRC_BIT(i, b, entry) (((i) >> (b)&1) * entry##u)
#define CRC_1(i)                                                                                  \
  (CRC_BIT(i, 0, 0x77073096) ^ CRC_BIT(i, 1, 0xEE0E612C) ^ CRC_BIT(i, 2, 0x076DC419) ^            \
   CRC_BIT(i, 3, 0x0EDB8832) ^ CRC_BIT(i, 4, 0x1DB71064) ^ CRC_BIT(i, 5, 0x3B6E20C8) ^            \
   CRC_BIT(i, 6, 0x76DC4190) ^ CRC_BIT(i, 7, 0xEDB88320))
#define CRC_4(i) CRC_1(i), CRC_1(i + 1), CRC_1(i + 2), CRC_1(i + 3)
#define CRC_16(i) CRC_4(i), CRC_4(i + 4), CRC_4(i + 8), CRC_4(i + 12)
#define CRC_64(i) CRC_16(i), CRC_16(i + 16), CRC_16(i + 32), CRC_16(i + 48)
static const uint32_t CRC_TABLE[256] = {CRC_64(0), CRC_64(64), CRC_64(128), CRC_64(192)};

static uint32_t crc32(const uint8_t *p, int64_t bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (int64_t i = 0; i < bytes; i++) crc = CRC_TABLE[(crc ^ p[i]) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

/* An id that no store can hold is looked up as one that isn't UTF-8: no product has it. */
static const uint8_t IMPOSSIBLE_ID[1] = {0xFF};

static const uint8_t *lookup_id(const ids_t *ids, int64_t i, int64_t *bytes) {
  *bytes = id_bytes(ids, i);
  if (possible(*bytes)) return ids->blob + ids->offsets[i];
  *bytes = 1;
  return IMPOSSIBLE_ID;
}

/* Bucket [n] of each id, of `bucket_count`. */
int64_t ids_buckets(const uint8_t *blob, int64_t blob_bytes, const int64_t *offsets, int64_t n,
                    int64_t bucket_count, int64_t *buckets) {
  ids_t ids = {blob, offsets, n};
  if (!ids_ok(&ids, blob_bytes) || bucket_count < 1 || bucket_count > UINT32_MAX)
    return BAD_ARGUMENTS;
  for (int64_t i = 0; i < n; i++) {
    int64_t bytes;
    const uint8_t *id = lookup_id(&ids, i, &bytes);
    buckets[i] = crc32(id, bytes) % (uint32_t)bucket_count;
  }
  return n;
}

/* ---- MGET: commands ---------------------------------------------------------------------------- */

/* Groups are positions[starts[g] .. starts[g + 1]], none of them empty. Returns how many positions
   there are, or BAD_ARGUMENTS. */
static int64_t groups_ok(const int64_t *positions, const int64_t *starts, int64_t groups,
                         int64_t n) {
  if (groups < 0 || starts[0] != 0) return BAD_ARGUMENTS;
  for (int64_t g = 0; g < groups; g++)
    if (starts[g + 1] <= starts[g]) return BAD_ARGUMENTS;
  for (int64_t j = 0; j < starts[groups]; j++)
    if (positions[j] < 0 || positions[j] >= n) return BAD_ARGUMENTS;
  return starts[groups];
}

static uint8_t *put_number(uint8_t *out, uint8_t type, uint64_t number) {
  uint8_t digits[20];
  int k = 0;
  do digits[k++] = (uint8_t)('0' + number % 10);
  while (number /= 10);
  *out++ = type;
  while (k) *out++ = digits[--k];
  *out++ = '\r', *out++ = '\n';
  return out;
}

enum { NUMBER_BYTES = 23, MGET_BYTES = NUMBER_BYTES + 10 };

/* One MGET per group for the row keys <prefix of its bucket><id>; ends[g] is where command g ends
   in `out`. The prefixes of all buckets lie back to back and are equally long.
   Returns the bytes written; with `out` NULL, bytes that are enough. */
int64_t mget_write(const uint8_t *blob, int64_t blob_bytes, const int64_t *offsets, int64_t n,
                   const int64_t *positions, const int64_t *starts, int64_t groups,
                   const uint8_t *prefixes, int64_t prefixes_bytes, int64_t bucket_count,
                   uint8_t *out, int64_t capacity, int64_t *ends) {
  ids_t ids = {blob, offsets, n};
  if (!ids_ok(&ids, blob_bytes) || groups_ok(positions, starts, groups, n) < 0 ||
      bucket_count < 1 || bucket_count > UINT32_MAX || prefixes_bytes % bucket_count)
    return BAD_ARGUMENTS;
  int64_t prefix_bytes = prefixes_bytes / bucket_count, bytes, needed = groups * MGET_BYTES;
  for (int64_t j = 0; j < starts[groups]; j++) {
    lookup_id(&ids, positions[j], &bytes);
    needed += NUMBER_BYTES + prefix_bytes + bytes + 2;
  }
  if (!out) return needed;
  if (capacity < needed) return BAD_ARGUMENTS;
  uint8_t *p = out, *out_end = out + capacity;
  for (int64_t g = 0; g < groups; g++) {
    p = put_number(p, '*', (uint64_t)(starts[g + 1] - starts[g] + 1));
    memcpy(p, "$4\r\nMGET\r\n", 10);
    p += 10;
    for (int64_t j = starts[g]; j < starts[g + 1]; j++) {
      const uint8_t *id = lookup_id(&ids, positions[j], &bytes);
      int64_t bucket = crc32(id, bytes) % (uint32_t)bucket_count;
      p = put_number(p, '$', (uint64_t)(prefix_bytes + bytes));
      copy_short(p, out_end, prefixes + bucket * prefix_bytes, prefixes + prefixes_bytes,
                 prefix_bytes);
      p += prefix_bytes;
      copy_short(p, out_end, id, id == IMPOSSIBLE_ID ? id : blob + blob_bytes, bytes);
      p += bytes;
      *p++ = '\r', *p++ = '\n';
    }
    ends[g] = p - out;
  }
  return p - out;
}

/* ---- MGET: replies ---------------------------------------------------------------------------- */

enum { MORE = 0, DONE = 1, MALFORMED = -2, TIMED_OUT = -3, CLOSED = -4, BROKEN = -5 };
enum { ERROR_BYTES = 160, LINE_BYTES = ERROR_BYTES, RECEIVE_BYTES = 1 << 16 };
enum { AT_REPLY, AT_RECORD, IN_RECORD };

typedef struct {
  uint8_t *values, *status;
  const int64_t *positions, *starts;
  uint8_t *failed; /* [groups], 1 where the reply was an error; its text is in errors */
  char *errors;    /* [groups, ERROR_BYTES], zero-terminated */
  int64_t groups, row_bytes;
  int64_t group, next;  /* replies read; index into positions of the next record */
  int64_t length, left; /* of the record at hand; `left` counts its line end too */
  int state, line_bytes, usual_bytes;
  uint8_t usual[NUMBER_BYTES]; /* the line before a record of the right length */
  char line[LINE_BYTES];       /* a line that came in pieces */
} reader_t;

int64_t mget_reader_bytes(void) { return sizeof(reader_t); }

/* Starts reading the replies to MGETs for these groups into values [n, row_bytes], status [n]. */
int64_t mget_reader_start(reader_t *reader, uint8_t *values, uint8_t *status, int64_t n,
                          int64_t row_bytes, const int64_t *positions, const int64_t *starts,
                          int64_t groups, uint8_t *failed, char *errors) {
  if (n < 0 || groups_ok(positions, starts, groups, n) < 0 || row_bytes < 2 || row_bytes % 2)
    return BAD_ARGUMENTS;
  memset(reader, 0, sizeof *reader);
  reader->values = values, reader->status = status;
  reader->positions = positions, reader->starts = starts, reader->groups = groups;
  reader->failed = failed, reader->errors = errors;
  reader->row_bytes = row_bytes;
  uint64_t record_bytes = (uint64_t)row_bytes + TRAILER_BYTES;
  reader->usual_bytes = (int)(put_number(reader->usual, '$', record_bytes) - reader->usual);
  return groups;
}

/* Replies read so far, error replies included. */
int64_t mget_reader_group(const reader_t *reader) { return reader->group; }

/* Whether a float16 row holds no NaN and no infinity. */
static int all_finite(const uint8_t *row, int64_t bytes) {
  uint16_t bad = 0;
  for (int64_t i = 0; i < bytes; i += 2) {
    uint16_t x;
    memcpy(&x, row + i, 2);
    bad |= (uint16_t)((x & 0x7C00) == 0x7C00);
  }
  return !bad;
}

static uint8_t *row_of_next(const reader_t *reader) {
  return reader->values + reader->positions[reader->next] * reader->row_bytes;
}

static void record_read(reader_t *reader, uint8_t status) {
  if (status == FOUND && !all_finite(row_of_next(reader), reader->row_bytes)) status = CORRUPT;
  if (status != FOUND) memset(row_of_next(reader), 0, (size_t)reader->row_bytes);
  reader->status[reader->positions[reader->next]] = status;
  reader->next++;
  reader->state = AT_RECORD;
  if (reader->next == reader->starts[reader->group + 1]) {
    reader->group++;
    reader->state = AT_REPLY;
  }
}

/* The number of a line such as "*250" or "$524", -1 if it is none. */
static int64_t line_number(const char *digits, int64_t bytes) {
  int64_t number = 0;
  if (bytes < 1 || bytes > 10) return -1;
  for (int64_t i = 0; i < bytes; i++) {
    if (digits[i] < '0' || digits[i] > '9') return -1;
    number = number * 10 + (digits[i] - '0');
  }
  return number;
}

/* A whole line, without its end; a longer one than LINE_BYTES was cut. */
static int line_read(reader_t *reader, const char *line, int64_t bytes) {
  if (bytes < 1) return MALFORMED;
  int64_t group = reader->group;
  if (reader->state == AT_REPLY && *line == '-') {
    int64_t shown = bytes - 1 < ERROR_BYTES - 1 ? bytes - 1 : ERROR_BYTES - 1;
    memcpy(reader->errors + group * ERROR_BYTES, line + 1, (size_t)shown);
    reader->errors[group * ERROR_BYTES + shown] = 0;
    reader->failed[group] = 1;
    reader->next = reader->starts[++reader->group];
    return MORE;
  }
  int64_t number = line_number(line + 1, bytes - 1);
  if (reader->state == AT_REPLY) {
    if (*line != '*' || number != reader->starts[group + 1] - reader->starts[group])
      return MALFORMED;
    reader->state = AT_RECORD;
    return MORE;
  }
  int nil = bytes == 3 && memcmp(line, "$-1", 3) == 0;
  if (nil || (bytes == 1 && *line == '_')) {
    record_read(reader, MISSING);
    return MORE;
  }
  if (*line != '$' || number < 0) return MALFORMED;
  reader->length = number, reader->left = number + 2;
  reader->state = IN_RECORD;
  return MORE;
}

/* Reads a line or a piece of it. */
static int take_line(reader_t *reader, const uint8_t **data, const uint8_t *end) {
  const uint8_t *p = *data, *newline = memchr(p, '\n', (size_t)(end - p));
  int64_t bytes = (newline ? newline + 1 : end) - p;
  *data = p + bytes;
  if (newline && reader->line_bytes == 0) {
    if (bytes < 2 || newline[-1] != '\r') return MALFORMED;
    return line_read(reader, (const char *)p, bytes - 2);
  }
  /* Of a line that is too long, its start and its end are kept: only errors may be that long. */
  for (int64_t i = 0; i < bytes; i++) {
    if (reader->line_bytes == LINE_BYTES) {
      if (reader->line[0] != '-') return MALFORMED;
      reader->line[LINE_BYTES - 2] = reader->line[LINE_BYTES - 1];
      reader->line_bytes--;
    }
    reader->line[reader->line_bytes++] = (char)p[i];
  }
  if (!newline) return MORE;
  bytes = reader->line_bytes;
  reader->line_bytes = 0;
  if (bytes < 2 || reader->line[bytes - 2] != '\r') return MALFORMED;
  return line_read(reader, reader->line, bytes - 2);
}

/* Reads a record or a piece of it, with its line end. */
static int take_record(reader_t *reader, const uint8_t **data, const uint8_t *end) {
  int right = reader->length == reader->row_bytes + TRAILER_BYTES;
  int64_t at = reader->length + 2 - reader->left;
  int64_t bytes = end - *data < reader->left ? end - *data : reader->left;
  if (right && at < reader->row_bytes) {
    int64_t of_row = reader->row_bytes - at < bytes ? reader->row_bytes - at : bytes;
    memcpy(row_of_next(reader) + at, *data, (size_t)of_row);
  }
  for (int64_t i = reader->length; i < at + bytes; i++)
    if (i >= at && (*data)[i - at] != "\r\n"[i - reader->length]) return MALFORMED;
  *data += bytes;
  reader->left -= bytes;
  if (reader->left == 0) record_read(reader, right ? FOUND : CORRUPT);
  return MORE;
}

/* Takes the next bytes: DONE when all replies have been read, MORE, or MALFORMED. */
int mget_reader_feed(reader_t *reader, const uint8_t *data, int64_t bytes) {
  if (bytes < 0) return BAD_ARGUMENTS;
  const uint8_t *end = data + bytes;
  int64_t usual_bytes = reader->usual_bytes, row_bytes = reader->row_bytes;
  int64_t whole = usual_bytes + row_bytes + TRAILER_BYTES + 2;
  while (data < end) {
    int outcome;
    if (reader->group == reader->groups) return MALFORMED;
    if (reader->state == AT_RECORD && reader->line_bytes == 0 && end - data >= whole &&
        memcmp(data, reader->usual, (size_t)usual_bytes) == 0) {
      if (memcmp(data + whole - 2, "\r\n", 2)) return MALFORMED;
      memcpy(row_of_next(reader), data + usual_bytes, (size_t)row_bytes);
      record_read(reader, FOUND);
      data += whole;
      continue;
    }
    if (reader->state == IN_RECORD)
      outcome = take_record(reader, &data, end);
    else
      outcome = take_line(reader, &data, end);
    if (outcome < 0) return outcome;
  }
  return reader->group == reader->groups ? DONE : MORE;
}

/* Reads from a socket until `through` replies have been read; timeout_ms (-1: none) is for each
   wait. Returns DONE, TIMED_OUT, CLOSED, MALFORMED, or BROKEN with errno in *error. */
int mget_reader_receive(reader_t *reader, int fd, int timeout_ms, int64_t through, int *error) {
  uint8_t buffer[RECEIVE_BYTES];
  if (through > reader->groups) return BAD_ARGUMENTS;
  while (reader->group < through) {
    ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got > 0) {
      int outcome = mget_reader_feed(reader, buffer, got);
      if (outcome < 0) return outcome;
    } else if (got == 0) {
      return CLOSED;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      struct pollfd readable = {.fd = fd, .events = POLLIN};
      if (poll(&readable, 1, timeout_ms) == 0) return TIMED_OUT;
    } else if (errno != EINTR) {
      *error = errno;
      return BROKEN;
    }
  }
  return DONE;
}

/* ---- keyed hash ------------------------------------------------------------------------------ */

typedef struct {
  uint64_t word[2];
} hash_t;

#define ROTATE(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))
#define SIP_ROUND                                                                                 \
  do {                                                                                            \
    v0 += v1, v1 = ROTATE(v1, 13) ^ v0, v0 = ROTATE(v0, 32);                                      \
    v2 += v3, v3 = ROTATE(v3, 16) ^ v2;                                                           \
    v0 += v3, v3 = ROTATE(v3, 21) ^ v0;                                                           \
    v2 += v1, v1 = ROTATE(v1, 17) ^ v2, v2 = ROTATE(v2, 32);                                      \
  } while (0)

/* SipHash-2-4 with 128 bits (Aumasson, Bernstein; github.com/veorq/SipHash): keyed, so that ids
   that are sent in cannot be chosen to meet in one bucket or to pass for each other. */
static hash_t siphash(const uint64_t key[2], const uint8_t *p, int64_t bytes) {
  uint64_t v0 = key[0] ^ 0x736F6D6570736575u, v1 = key[1] ^ 0x646F72616E646F6Du ^ 0xEE;
  uint64_t v2 = key[0] ^ 0x6C7967656E657261u, v3 = key[1] ^ 0x7465646279746573u;
  uint64_t last = (uint64_t)bytes << 56, word;
  const uint8_t *end = p + (bytes & ~7LL);
  for (; p < end; p += 8) {
    word = load64(p);
    v3 ^= word;
    SIP_ROUND;
    SIP_ROUND;
    v0 ^= word;
  }
  for (int i = (int)(bytes & 7); i-- > 0;) last |= (uint64_t)p[i] << (8 * i);
  v3 ^= last;
  SIP_ROUND;
  SIP_ROUND;
  v0 ^= last;
  v2 ^= 0xEE;
  for (int i = 0; i < 4; i++) SIP_ROUND;
  hash_t hash;
  hash.word[0] = v0 ^ v1 ^ v2 ^ v3;
  v1 ^= 0xDD;
  for (int i = 0; i < 4; i++) SIP_ROUND;
  hash.word[1] = v0 ^ v1 ^ v2 ^ v3;
  return hash;
}

/* Hashes [n, 2] of the ids under a key of 16 bytes. */
int64_t ids_hash(const uint8_t *blob, int64_t blob_bytes, const int64_t *offsets, int64_t n,
                 const uint8_t *key, uint64_t *hashes) {
  ids_t ids = {blob, offsets, n};
  uint64_t words[2];
  if (!ids_ok(&ids, blob_bytes)) return BAD_ARGUMENTS;
  memcpy(words, key, 16);
  for (int64_t i = 0; i < n; i++) {
    hash_t hash = siphash(words, blob + offsets[i], id_bytes(&ids, i));
    memcpy(hashes + 2 * i, hash.word, 16);
  }
  return n;
}

/* ---- arena ----------------------------------------------------------------------------------

   A row lies in either of the two buckets its hash names, so that a catalogue fits whole up to three
   quarters of the arena, and 96 % of one that is as large. The hash stands for the id: 64 bits of it are the tag, 16 the
   mark, and the rest chooses the buckets. A way is given its slot of the row array when it is
   first used and keeps it: memory is touched only as rows come. */

enum { WAYS = 8, TILE = 32, MOST_USED = 15 };

typedef struct {
  uint64_t tag[WAYS];   /* 0: empty */
  uint32_t slot[WAYS];  /* row number + 1; 0: none yet */
  uint16_t mark[WAYS];
  uint8_t used[WAYS];   /* hits, up to MOST_USED, less what has aged */
  uint64_t invalidated; /* epoch of the last invalidation of an id whose first bucket this is */
} bucket_t;

typedef struct {
  pthread_rwlock_t lock; /* looking up is reading: `used` and the counts of it are atomic */
  bucket_t *buckets;
  uint8_t *rows;
  uint64_t bucket_count, row_bytes, stride;
  uint64_t key[2];
  uint64_t slots_used, epoch, cleared;
  int paused;
  uint64_t hits, misses, evictions, invalidations, held;
} arena_t;

typedef struct {
  uint64_t tag;
  uint16_t mark;
  bucket_t *first, *second;
} place_t;

static void *zero_pages(void *at, size_t bytes) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0);
  void *pages = mmap(at, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (pages == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
  madvise(pages, bytes, MADV_HUGEPAGE); /* random rows: a page table walk for each otherwise */
#endif
  return pages;
}

/* A lock for which threads that look up never keep an invalidation waiting for long. */
static int lock_made(pthread_rwlock_t *lock) {
  pthread_rwlockattr_t attributes;
  if (pthread_rwlockattr_init(&attributes)) return 0;
#ifdef __GLIBC__
  pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
  int failed = pthread_rwlock_init(lock, &attributes);
  pthread_rwlockattr_destroy(&attributes);
  return !failed;
}

static uint64_t stride_of(int64_t row_bytes) { return ((uint64_t)row_bytes + 63) & ~63ULL; }

/* What a bucket takes with its rows: the smallest budget of an arena. */
int64_t arena_bucket_bytes(int64_t row_bytes) {
  return (int64_t)(stride_of(row_bytes) * WAYS + sizeof(bucket_t));
}

/* An arena for as many rows as the budget holds, tables included, paused; NULL if it holds none or
   the address space is refused. Memory is taken as rows come. */
arena_t *arena_new(int64_t budget_bytes, int64_t row_bytes, const uint8_t *key) {
  if (budget_bytes < 1 || row_bytes < 1 || row_bytes > budget_bytes) return NULL;
  uint64_t stride = stride_of(row_bytes);
  uint64_t count = (uint64_t)(budget_bytes / arena_bucket_bytes(row_bytes));
  if (count > (UINT32_MAX - 1) / WAYS) count = (UINT32_MAX - 1) / WAYS;
  arena_t *arena = count ? calloc(1, sizeof *arena) : NULL;
  if (!arena) return NULL;
  arena->bucket_count = count, arena->row_bytes = (uint64_t)row_bytes, arena->stride = stride;
  memcpy(arena->key, key, 16);
  arena->paused = 1;
  arena->buckets = zero_pages(NULL, count * sizeof(bucket_t));
  arena->rows = arena->buckets ? zero_pages(NULL, count * WAYS * stride) : NULL;
  if (!arena->rows || !lock_made(&arena->lock)) {
    if (arena->buckets) munmap(arena->buckets, count * sizeof(bucket_t));
    if (arena->rows) munmap(arena->rows, count * WAYS * stride);
    free(arena);
    return NULL;
  }
  return arena;
}

void arena_free(arena_t *arena) {
  munmap(arena->buckets, arena->bucket_count * sizeof(bucket_t));
  munmap(arena->rows, arena->bucket_count * WAYS * arena->stride);
  pthread_rwlock_destroy(&arena->lock);
  free(arena);
}

/* Takes all of its memory now, so that no request pays for the first touch of a page. */
void arena_touch(arena_t *arena) {
#ifdef MADV_POPULATE_WRITE /* Linux 5.14; elsewhere pages come as they are used */
  madvise(arena->buckets, arena->bucket_count * sizeof(bucket_t), MADV_POPULATE_WRITE);
  madvise(arena->rows, arena->bucket_count * WAYS * arena->stride, MADV_POPULATE_WRITE);
#else
  (void)arena;
#endif
}

int64_t arena_capacity(const arena_t *arena) { return (int64_t)(arena->bucket_count * WAYS); }

static uint64_t scaled(uint64_t fraction, uint64_t count) {
  return (uint64_t)((unsigned __int128)fraction * count >> 64);
}

/* Places of ids [start, start + k), their buckets on the way into the cache. */
static void find_places(const arena_t *arena, const ids_t *ids, int64_t start, int64_t k,
                        place_t *places) {
  for (int64_t i = 0; i < k; i++) {
    hash_t hash = siphash(arena->key, ids->blob + ids->offsets[start + i],
                          id_bytes(ids, start + i));
    uint64_t word = hash.word[1], other = ROTATE(word, 32);
    places[i].tag = hash.word[0] ? hash.word[0] : 1;
    places[i].mark = (uint16_t)(word >> 32);
    places[i].first = arena->buckets + scaled(word, arena->bucket_count);
    places[i].second = arena->buckets + scaled(other, arena->bucket_count);
    __builtin_prefetch(places[i].first->tag);
    __builtin_prefetch(places[i].first->slot);
    __builtin_prefetch(places[i].second->tag);
    __builtin_prefetch(places[i].second->slot);
  }
}

static int way_of(const bucket_t *bucket, const place_t *place) {
  for (int way = 0; way < WAYS; way++)
    if (bucket->tag[way] == place->tag && bucket->mark[way] == place->mark) return way;
  return -1;
}

/* The bucket that holds an id, its way in *way; NULL if neither does. */
static bucket_t *holder_of(const place_t *place, int *way) {
  if ((*way = way_of(place->first, place)) >= 0) return place->first;
  if ((*way = way_of(place->second, place)) >= 0) return place->second;
  return NULL;
}

static uint8_t *row_at(const arena_t *arena, const bucket_t *bucket, int way) {
  return arena->rows + (uint64_t)(bucket->slot[way] - 1) * arena->stride;
}

/* Rows of the ids that are held, into values [n, row_bytes] with status FOUND; positions of the
   others into `missing`, with status MISSING and their rows as they were. Returns how many miss. */
int64_t arena_lookup(arena_t *arena, const uint8_t *blob, int64_t blob_bytes,
                     const int64_t *offsets, int64_t n, uint8_t *values, uint8_t *status,
                     int64_t *missing) {
  ids_t ids = {blob, offsets, n};
  if (!ids_ok(&ids, blob_bytes)) return BAD_ARGUMENTS;
  int64_t misses = 0;
  size_t row_bytes = (size_t)arena->row_bytes;
  for (int64_t start = 0; start < n; start += TILE) {
    place_t places[TILE];
    const uint8_t *rows[TILE];
    int64_t k = n - start < TILE ? n - start : TILE;
    find_places(arena, &ids, start, k, places);
    pthread_rwlock_rdlock(&arena->lock);
    for (int64_t i = 0; i < k; i++) {
      int way;
      bucket_t *bucket = holder_of(&places[i], &way);
      rows[i] = NULL;
      if (bucket) {
        uint8_t used = __atomic_load_n(&bucket->used[way], __ATOMIC_RELAXED);
        if (used < MOST_USED) __atomic_store_n(&bucket->used[way], used + 1, __ATOMIC_RELAXED);
        rows[i] = row_at(arena, bucket, way);
        for (size_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(rows[i] + line);
      }
    }
    for (int64_t i = 0; i < k; i++) {
      status[start + i] = rows[i] ? FOUND : MISSING;
      if (rows[i])
        memcpy(values + (size_t)(start + i) * row_bytes, rows[i], row_bytes);
      else
        missing[misses++] = start + i;
    }
    pthread_rwlock_unlock(&arena->lock);
  }
  __atomic_fetch_add(&arena->misses, (uint64_t)misses, __ATOMIC_RELAXED);
  __atomic_fetch_add(&arena->hits, (uint64_t)(n - misses), __ATOMIC_RELAXED);
  return misses;
}

static int empty_way(const bucket_t *bucket, int *empty) {
  int way = -1;
  *empty = 0;
  for (int i = WAYS; i-- > 0;)
    if (!bucket->tag[i]) way = i, ++*empty;
  return way;
}

/* Where a new row goes: the emptier bucket, else in place of the least used row of both, which
   all age by as much as that one had. */
static bucket_t *room_for(arena_t *arena, const place_t *place, int *way) {
  bucket_t *first = place->first, *second = place->second;
  int in_first, in_second, other = empty_way(second, &in_second);
  *way = empty_way(first, &in_first);
  if (in_first || in_second) {
    arena->held++;
    if (in_first >= in_second) return first;
    *way = other;
    return second;
  }
  bucket_t *least = first;
  *way = 0;
  for (int i = 0; i < WAYS; i++)
    if (first->used[i] < least->used[*way]) *way = i;
  for (int i = 0; i < WAYS; i++)
    if (second->used[i] < least->used[*way]) least = second, *way = i;
  uint8_t age = least->used[*way];
  if (age) {
    for (int i = 0; i < WAYS; i++) first->used[i] -= age;
    if (second != first)
      for (int i = 0; i < WAYS; i++) second->used[i] -= age;
  }
  arena->evictions++;
  return least;
}

/* Rows values [n, row_bytes] of ids whose status is FOUND. Refused are those whose id may have
   been invalidated since `ticket` was drawn, and all of them while paused. Returns how many are
   held now. */
int64_t arena_insert(arena_t *arena, const uint8_t *blob, int64_t blob_bytes,
                     const int64_t *offsets, int64_t n, const uint8_t *values,
                     const uint8_t *status, uint64_t ticket) {
  ids_t ids = {blob, offsets, n};
  if (!ids_ok(&ids, blob_bytes)) return BAD_ARGUMENTS;
  int64_t inserted = 0;
  size_t row_bytes = (size_t)arena->row_bytes;
  for (int64_t start = 0; start < n; start += TILE) {
    place_t places[TILE];
    int64_t k = n - start < TILE ? n - start : TILE;
    find_places(arena, &ids, start, k, places);
    pthread_rwlock_wrlock(&arena->lock);
    if (arena->paused || arena->cleared > ticket) k = 0;
    for (int64_t i = 0; i < k; i++) {
      int way;
      if (status[start + i] != FOUND || !possible(id_bytes(&ids, start + i)) ||
          places[i].first->invalidated > ticket)
        continue;
      bucket_t *bucket = holder_of(&places[i], &way);
      if (!bucket) {
        bucket = room_for(arena, &places[i], &way);
        if (!bucket->slot[way]) bucket->slot[way] = (uint32_t)++arena->slots_used;
        bucket->tag[way] = places[i].tag, bucket->mark[way] = places[i].mark;
        bucket->used[way] = 1;
      }
      memcpy(row_at(arena, bucket, way), values + (size_t)(start + i) * row_bytes, row_bytes);
      inserted++;
    }
    pthread_rwlock_unlock(&arena->lock);
  }
  return inserted;
}

/* Forgets these ids, and refuses rows of them fetched before now. Returns how many were held. */
int64_t arena_invalidate(arena_t *arena, const uint8_t *blob, int64_t blob_bytes,
                         const int64_t *offsets, int64_t n) {
  ids_t ids = {blob, offsets, n};
  if (!ids_ok(&ids, blob_bytes)) return BAD_ARGUMENTS;
  int64_t forgotten = 0;
  for (int64_t start = 0; start < n; start += TILE) {
    place_t places[TILE];
    int64_t k = n - start < TILE ? n - start : TILE;
    find_places(arena, &ids, start, k, places);
    pthread_rwlock_wrlock(&arena->lock);
    arena->epoch++;
    for (int64_t i = 0; i < k; i++) {
      int way;
      bucket_t *bucket = holder_of(&places[i], &way);
      places[i].first->invalidated = arena->epoch;
      if (bucket) bucket->tag[way] = 0, arena->held--, forgotten++;
    }
    arena->invalidations += (uint64_t)k;
    pthread_rwlock_unlock(&arena->lock);
  }
  return forgotten;
}

/* Drawn before rows are fetched, handed in when they are inserted. */
uint64_t arena_ticket(arena_t *arena) {
  pthread_rwlock_wrlock(&arena->lock);
  uint64_t ticket = arena->epoch;
  pthread_rwlock_unlock(&arena->lock);
  return ticket;
}

static void forget_all(arena_t *arena) {
  size_t bytes = arena->bucket_count * sizeof(bucket_t);
  arena->cleared = ++arena->epoch;
  arena->slots_used = arena->held = 0;
  if (!zero_pages(arena->buckets, bytes)) memset(arena->buckets, 0, bytes);
}

/* Forgets everything, and refuses all rows fetched before now. */
void arena_clear(arena_t *arena) {
  pthread_rwlock_wrlock(&arena->lock);
  forget_all(arena);
  pthread_rwlock_unlock(&arena->lock);
}

/* While paused everything misses and nothing is inserted; rows fetched meanwhile never are. */
void arena_pause(arena_t *arena, int paused) {
  pthread_rwlock_wrlock(&arena->lock);
  forget_all(arena);
  arena->paused = paused;
  pthread_rwlock_unlock(&arena->lock);
}

int arena_paused(arena_t *arena) {
  pthread_rwlock_wrlock(&arena->lock);
  int paused = arena->paused;
  pthread_rwlock_unlock(&arena->lock);
  return paused;
}

/* counts [5]: hits, misses, evictions, invalidations, rows held. */
void arena_counters(arena_t *arena, int64_t *counts) {
  pthread_rwlock_wrlock(&arena->lock);
  counts[0] = (int64_t)__atomic_load_n(&arena->hits, __ATOMIC_RELAXED);
  counts[1] = (int64_t)__atomic_load_n(&arena->misses, __ATOMIC_RELAXED);
  counts[2] = (int64_t)arena->evictions, counts[3] = (int64_t)arena->invalidations;
  counts[4] = (int64_t)arena->held;
  pthread_rwlock_unlock(&arena->lock);
}
