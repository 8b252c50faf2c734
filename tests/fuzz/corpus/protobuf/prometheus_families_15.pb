g
"test_summary_with_createdtimestamp#A summary with a created timestamp.""*X9´Èv¾ó?"‘Š¢‡óõ‚F