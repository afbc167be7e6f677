"""Every publication the library cites, once."""

from spikeloom.core.paper import Paper

STBP = Paper(
    "wu2018stbp", "Spatio-Temporal Backpropagation for Training High-Performance Spiking Neural Networks",
    "Wu, Yujie and Deng, Lei and Li, Guoqi and Zhu, Jun and Shi, Luping",
    "Frontiers in Neuroscience 12:331", 2018, "https://doi.org/10.3389/fnins.2018.00331",
)
MLF = Paper(
    "feng2022mlf", "Multi-Level Firing with Spiking DS-ResNet: Enabling Better and Deeper Directly-Trained Spiking Neural Networks",
    "Feng, Lang and Liu, Qianhui and Tang, Huajin and Ma, De and Pan, Gang",
    "IJCAI", 2022, "https://arxiv.org/abs/2210.06386",
)
SEW = Paper(
    "fang2021sew", "Deep Residual Learning in Spiking Neural Networks",
    "Fang, Wei and Yu, Zhaofei and Chen, Yanqi and Huang, Tiejun and Masquelier, Timothee and Tian, Yonghong",
    "NeurIPS", 2021, "https://arxiv.org/abs/2102.04159",
)
PLIF = Paper(
    "fang2021plif", "Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks",
    "Fang, Wei and Yu, Zhaofei and Chen, Yanqi and Masquelier, Timothee and Huang, Tiejun and Tian, Yonghong",
    "ICCV", 2021, "https://arxiv.org/abs/2007.05785",
)
DSPIKE = Paper(
    "li2021dspike", "Differentiable Spike: Rethinking Gradient-Descent for Training Spiking Neural Networks",
    "Li, Yuhang and Guo, Yufei and Zhang, Shanghang and Deng, Shikuang and Hai, Yongqing and Gu, Shi", "NeurIPS", 2021,
)
TDBN = Paper(
    "zheng2021tdbn", "Going Deeper With Directly-Trained Larger Spiking Neural Networks",
    "Zheng, Hanle and Wu, Yujie and Deng, Lei and Hu, Yifan and Li, Guoqi",
    "AAAI", 2021, "https://arxiv.org/abs/2011.05280",
)
TET = Paper(
    "deng2022tet", "Temporal Efficient Training of Spiking Neural Network via Gradient Re-weighting",
    "Deng, Shikuang and Li, Yuhang and Zhang, Shanghang and Gu, Shi", "ICLR", 2022, "https://arxiv.org/abs/2202.11946",
)
