Ú
test_histogram_family=Test histogram metric family with two very simple histograms."?


foobar:1333333(@š™™™™™ñ?š™™™™™@(bj"?


foobaz:1333333*@š™™™™™ñ?š™™™™™@(bj