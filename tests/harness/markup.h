/* markup.h: a small checker for the HTML and SVG that Gyrus writes. It is stricter than a browser:
 * every element is closed, attributes are quoted, no raw control character or bare ampersand. */
#ifndef GY_TEST_MARKUP_H
#define GY_TEST_MARKUP_H

/* Fails the test with the place unless `s` is well formed. */
void assert_markup(const char *s);
int count_of(const char *s, const char *part); /* non-overlapping occurrences */

#endif
