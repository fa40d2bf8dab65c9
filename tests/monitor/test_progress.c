/* test_progress.c - compact units, the progress line, the machine's description. */
#include "lt_test.h"
#include "monitor/progress.h"
#include "monitor/sysinfo.h"
#include "monitor/units.h"

#include <math.h>
#include <stdlib.h>

LT_TEST(units_have_three_digits)
{
    char t[LT_UNIT_TEXT_BYTES];

    LT_CHECK_STR(lt_unit_count(t, 0), "0");
    LT_CHECK_STR(lt_unit_count(t, 950), "950");
    LT_CHECK_STR(lt_unit_count(t, 12.34), "12.3");
    LT_CHECK_STR(lt_unit_count(t, 999.6), "1.00k");
    LT_CHECK_STR(lt_unit_count(t, 12345), "12.3k");
    LT_CHECK_STR(lt_unit_count(t, 999600), "1.00M");
    LT_CHECK_STR(lt_unit_count(t, 4.56e11), "456G");
    LT_CHECK_STR(lt_unit_count(t, -1500), "-1.50k");
    LT_CHECK_STR(lt_unit_count(t, 1e21), "1000E");
    LT_CHECK_STR(lt_unit_count(t, NAN), "nan");
    LT_CHECK_STR(lt_unit_count(t, INFINITY), "inf");
    LT_CHECK_STR(lt_unit_bytes(t, 512), "512 B");
    LT_CHECK_STR(lt_unit_bytes(t, 1536), "1.50 KiB");
    LT_CHECK_STR(lt_unit_bytes(t, 141ull << 30), "141 GiB");
    LT_CHECK_STR(lt_unit_bytes(t, UINT64_MAX), "16.0 EiB");
}

LT_TEST(units_of_time)
{
    char t[LT_UNIT_TEXT_BYTES];

    LT_CHECK_STR(lt_unit_seconds(t, 41.2), "41s");
    LT_CHECK_STR(lt_unit_seconds(t, 59.7), "1m00s");
    LT_CHECK_STR(lt_unit_seconds(t, 129), "2m09s");
    LT_CHECK_STR(lt_unit_seconds(t, 3 * 3600 + 12 * 60), "3h12m");
    LT_CHECK_STR(lt_unit_seconds(t, 122 * 3600), "5d02h");
    LT_CHECK_STR(lt_unit_seconds(t, -1), "-");
    LT_CHECK_STR(lt_unit_seconds(t, NAN), "-");
    LT_CHECK_STR(lt_unit_seconds(t, INFINITY), "-");
}

LT_TEST(progress_line_shows_what_is_known)
{
    lt_step_metrics m = { .step = 1200,
                          .loss = 3.4123,
                          .lr = 5.7e-4,
                          .grad_norm = 0.832,
                          .tokens_per_s = 41234,
                          .flops_per_s = 4.56e11,
                          .eta_s = 725 };
    lt_buf line = { 0 };

    lt_progress_format(&line, &m, 5000);
    LT_CHECK_STR(lt_buf_cstr(&line), "step 1200/5000  loss 3.412  lr 5.70e-04  norm 0.832  "
                                     "41.2k tok/s  eta 12m05s  456GFLOP/s");
    lt_buf_clear(&line);
    m.mfu = 0.431;
    m.has_val = true;
    m.val_loss = 3.5;
    m.skipped_steps = 2;
    m.loss = NAN;
    m.eta_s = 0;
    lt_progress_format(&line, &m, 0);
    LT_CHECK_STR(lt_buf_cstr(&line), "step 1200  loss nan  lr 5.70e-04  norm 0.832  val 3.5  "
                                     "41.2k tok/s  mfu 43.1%  skipped 2");
    lt_buf_release(&line);
}

LT_TEST(sysinfo_describes_this_machine)
{
    lt_sysinfo s;
    lt_buf line = { 0 };

    lt_sysinfo_read(&s);
    LT_CHECK(s.host[0] && s.system[0] && s.cpu_model[0] && !strchr(s.cpu_model, '\n'));
    LT_CHECK(s.n_cores >= 1 && s.n_usable >= 1 && s.n_usable <= s.n_cores);
    LT_CHECK(s.ram_bytes > 64u << 20);
    lt_sysinfo_format(&line, &s);
    LT_CHECK(strstr(lt_buf_cstr(&line), s.cpu_model) && !strchr(line.data, '\n'));
    lt_buf_release(&line);
}
