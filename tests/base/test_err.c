/* test_err.c - the record of a thread, and exit codes. */
#include "base/err.h"
#include "lt_test.h"

#include <pthread.h>

LT_TEST(fail_records_the_sentence)
{
    LT_CHECK_INT(lt_fail(LT_EIO, "%s: %d", "file", 7), LT_EIO);
    LT_CHECK_STR(lt_err_text(), "file: 7");
    LT_CHECK_INT(lt_fail_in("step %d", 3), LT_EIO);
    LT_CHECK_STR(lt_err_text(), "step 3: file: 7");
    LT_CHECK_INT(lt_fail(LT_EUSAGE, "again: %s", lt_err_text()), LT_EUSAGE);
    LT_CHECK_STR(lt_err_text(), "again: step 3: file: 7");
}

LT_TEST(long_sentences_are_cut)
{
    char word[LT_ERR_TEXT_BYTES * 2];

    memset(word, 'x', sizeof word);
    word[sizeof word - 1] = '\0';
    lt_fail(LT_EIO, "%s", word);
    LT_CHECK_INT(strlen(lt_err_text()), LT_ERR_TEXT_BYTES - 1);
    lt_fail_in("%s", word);
    LT_CHECK(strlen(lt_err_text()) < LT_ERR_TEXT_BYTES);
}

static void *other_thread(void *record)
{
    lt_fail(LT_EFORMAT, "from a worker");
    lt_err_take(record);
    return lt_err_text()[0] ? record : NULL; /* taking clears */
}

LT_TEST(records_are_of_a_thread_and_travel)
{
    lt_err_record r;
    pthread_t t;
    void *kept = &r;

    lt_fail(LT_EIO, "mine");
    LT_CHECK_INT(pthread_create(&t, NULL, other_thread, &r), 0);
    pthread_join(t, &kept);
    LT_CHECK(!kept);
    LT_CHECK_STR(lt_err_text(), "mine");
    LT_CHECK_INT(lt_err_give(&r), LT_EFORMAT);
    LT_CHECK_STR(lt_err_text(), "from a worker");
}

LT_TEST(exit_codes)
{
    LT_CHECK_INT(lt_err_exit_code(LT_OK), 0);
    LT_CHECK_INT(lt_err_exit_code(LT_EIO), 1);
    LT_CHECK_INT(lt_err_exit_code(LT_EMISMATCH), 1);
    LT_CHECK_INT(lt_err_exit_code(LT_EUSAGE), 2);
    LT_CHECK_INT(lt_err_exit_code(LT_EFORMAT), 65);
    LT_CHECK_INT(lt_err_exit_code(LT_ERESTART), 75);
}
